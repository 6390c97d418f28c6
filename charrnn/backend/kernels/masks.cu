// The masks of dropout: see charrnn/model/dropout.py.
//
// The random numbers are those of numpy.random.Philox, Philox4x64-10 (Salmon et al., 2011): a block of four 64-bit words
// is a function of a key and a counter, so every thread computes a block of its own. NumPy counts the blocks from 1.
//
// Macros: MASK (the type of an element), THREADS; REAL and REAL_BYTES are not used.

#include "platform.cuh"

using Word = unsigned long long;

constexpr int ROUNDS = 10;
constexpr int TILE = THREADS * 16;  // elements that the threads of a block draw together: 16 bits each, four a word

// Replace the counter (4,) by its block of words.
__device__ inline void philox(Word* counter, Word key0, Word key1) {
    constexpr Word M0 = 0xD2E7470EE14C6C93, M1 = 0xCA5A826395121157, W0 = 0x9E3779B97F4A7C15, W1 = 0xBB67AE8584CAA73B;
    for (int round = 0; round < ROUNDS; round++, key0 += W0, key1 += W1) {
        const Word high0 = high_product(M0, counter[0]), low0 = M0 * counter[0];
        const Word high1 = high_product(M1, counter[2]), low1 = M1 * counter[2];
        counter[0] = high1 ^ counter[1] ^ key0, counter[1] = low1;
        counter[2] = high0 ^ counter[3] ^ key1, counter[3] = low0;
    }
}

// Write `rows` masks of `size` elements to `masks`: for `rows / layers` steps from `step` on, those with the numbers
// `number`, `number` + 2, ..., one a layer. An element is `dropped` where its 16 bits are below `threshold`, else `kept`.
KERNEL void __launch_bounds__(THREADS)
    draw_masks(Word size, int rows, int layers, Word key0, Word key1, Word step, int number, int threshold, MASK kept,
               MASK dropped, MASK* masks) {
    Word* words = reinterpret_cast<Word*>(shared_memory());  // of a tile, in their order
    const Word tiles = (size + TILE - 1) / TILE;
    for (Word tile = blockIdx.x; tile < rows * tiles; tile += gridDim.x) {
        const Word row = tile / tiles, first = tile % tiles * TILE;
        Word block[4] = {first / 16 + threadIdx.x + 1, 0, number + row % layers * 2, step + row / layers};
        philox(block, key0, key1);
        __syncthreads();  // all threads have read the words of the tile before
        for (int i = 0; i < 4; i++) words[4 * threadIdx.x + i] = block[i];
        __syncthreads();
        for (int i = threadIdx.x; i < TILE && first + i < size; i += THREADS)
            masks[row * size + first + i] = int(words[i / 4] >> i % 4 * 16 & 0xffff) < threshold ? dropped : kept;
    }
}
