// All T steps of a recurrent layer in one launch, forward or backward.
//
// The H units are cut into tiles of UNITS, the B streams into groups of STREAMS. A block computes one tile of units,
// with all their gates, for every `stream_tiles`-th group. Its part of the recurrent weights stays in shared memory
// (RESIDENT) or is loaded again at every step. All blocks must run at once, because they wait for each other.
//
// At each step a block multiplies the state of its streams by its part of the weights and applies the cell. Other
// blocks read the result at the next step. Each t has its own memory, so one barrier a step between the blocks of the
// same streams is enough: nothing is overwritten while another block may still read it.
//
// Sums have a fixed order, so the same launch gives the same bits.
//
// Macros: REAL, REAL_BYTES, UNITS and STREAMS (multiples of 4), THREADS, CHUNK (a multiple of 4: how many elements of a
// state are in shared memory at once), RESIDENT (0 or 1).

#include "platform.cuh"

// How often a barrier loads its counter before it reads the clock, which is slow.
constexpr unsigned LOADS = 1024;

// Most slices of a sum. With more slices, more threads share the sum, but adding up the slices takes longer.
constexpr int MOST_SLICES = 32;

// The arrays of a layer, row-major; null if the cell does not have them.
struct Layer {
    int T, B, H, stream_tiles;
    const REAL* W;        // (H, G*H)
    const REAL* bias;     // (H,) of the recurrent product; for the GRU
    const REAL* keep;     // (T, B); null means all ones
    REAL* z;              // (T, B, G*H): the projected input, then the gates, then dz
    REAL* z_hidden;       // (T, B, G*H): for the GRU u, then dz_hidden; for other cells the same as z
    REAL* hidden;         // (T+1, B, H)
    REAL* cell_state;     // (T+1, B, H); for the LSTM
    const REAL* dhidden;  // (T, B, H)
    REAL* carry;          // (B, H): what a step of the adjoint passes to step t-1 besides dz
    unsigned* counters;   // one for each stream tile, 32 words apart; zero at the launch
    unsigned* gave_up;    // how often a block gave up at a barrier; the host reads it with the results

    __device__ REAL keep_at(int t, int b) const { return keep ? keep[t * B + b] : REAL(1); }
};

// The indices of the values of one unit of one stream at one step.
struct Element {
    int unit;
    size_t own, before, after, gate;  // of [b, unit], hidden[t, b, unit], hidden[t+1, b, unit], z[t, b, unit]
    REAL keep;                        // keep[t, b]

    __device__ Element(const Layer& a, int G, int t, int b, int unit)
        : unit(unit), own(size_t(b) * a.H + unit), before(size_t(t) * a.B * a.H + own),
          after(before + size_t(a.B) * a.H), gate((size_t(t) * a.B + b) * G * a.H + unit), keep(a.keep_at(t, b)) {}
};

// The product of the state of a block's streams and its columns of a matrix, in shared memory. COLS is a multiple of 4.
//
// A thread adds up every SLICES-th quad of terms for four streams and four columns; some threads may have no terms.
// Row k of the right matrix is stored at [k % 4][k / 4], so that the threads of a warp read consecutive memory.
template <int COLS>
struct Product {
    static constexpr int ACROSS = COLS / 4, TILES = STREAMS / 4 * ACROSS;
    static constexpr int SLICES = THREADS / TILES < MOST_SLICES ? THREADS / TILES : MOST_SLICES;
    static constexpr int STRIDE = CHUNK / 4 + 1;  // in Quads; odd, so that rows start in different banks
    static_assert(SLICES >= 1, "more tiles than threads");

    const int K, rows;  // terms of a sum; rows in each fourth of the right matrix
    Quad *left, *parts, *right;

    __device__ explicit Product(int K)
        : K(K), rows(((RESIDENT ? K : CHUNK) + 3) / 4), left(shared_memory()), parts(left + STREAMS * STRIDE),
          right(parts + THREADS * 4) {}

    // Load rows first, ..., first + count - 1 of the right matrix, `weight(k, column)`, into shared memory.
    template <class Weight>
    __device__ void load_right(int first, int count, Weight weight) {
        REAL* to = right->v;
        const int padded = (count + 3) / 4 * 4;
        for (int i = threadIdx.x; i < padded * COLS; i += THREADS) {
            const int k = Weight::ALONG_K ? i % padded : i / COLS, c = Weight::ALONG_K ? i / padded : i % COLS;
            to[((k % 4) * rows + k / 4) * COLS + c] = k < count ? weight(first + k, c) : REAL(0);
        }
    }

    // Load elements first, ..., first + count - 1 of the rows `from` (streams, K) into shared memory.
    __device__ void load_left(const REAL* from, int streams, int first, int count) {
        const int quads = (count + 3) / 4;
        for (int i = threadIdx.x; i < STREAMS * quads; i += THREADS) {
            const int s = i / quads, k = first + i % quads * 4;
            const REAL* p = from + size_t(s) * K + k;
            Quad four = {};
            if (s < streams && K % 4 == 0)
                four = load_l2_quad(p);
            else if (s < streams)
                for (int j = 0; j < 4 && k + j < K; j++) four.v[j] = load_l2(p + j);
            left[s * STRIDE + i % quads] = four;
        }
    }

    // Compute the product of the rows `from` (streams, K); its slices stay in `parts`.
    template <class Weight>
    __device__ void multiply(const REAL* from, int streams, Weight weight) {
        const int tile = threadIdx.x % TILES, slice = threadIdx.x / TILES;
        const int s0 = tile / ACROSS * 4, across = tile % ACROSS;
        Quad sums[4] = {};
        for (int first = 0; first < K; first += CHUNK) {
            const int count = K - first < CHUNK ? K - first : CHUNK;
            __syncthreads();  // all threads have read the previous chunk and product
            load_left(from, streams, first, count);
            if (!RESIDENT) load_right(first, count, weight);
            __syncthreads();
            const Quad* columns = right + (RESIDENT ? first / 4 * ACROSS : 0) + across;
            for (int k = slice; k < (count + 3) / 4 && slice < SLICES; k += SLICES) {
                Quad a[4];
                for (int s = 0; s < 4; s++) a[s] = left[(s0 + s) * STRIDE + k];
                for (int r = 0; r < 4; r++) {
                    const Quad b = columns[(r * rows + k) * ACROSS];
                    for (int s = 0; s < 4; s++)
                        for (int c = 0; c < 4; c++) sums[s].v[c] += a[s].v[r] * b.v[c];
                }
            }
        }
        for (int s = 0; s < 4 && slice < SLICES; s++) parts[(slice * STREAMS + s0 + s) * ACROSS + across] = sums[s];
        __syncthreads();
    }

    // Return the product's element of stream s and column c of the block.
    __device__ REAL operator()(int s, int c) const {
        REAL sum = 0;
        for (int slice = 0; slice < SLICES; slice++) sum += parts[(slice * STREAMS + s) * ACROSS + c / 4].v[c % 4];
        return sum;
    }
};

// The right matrix of the forward pass: the columns of W (H, G*H) for a tile of units, gate by gate.
template <int G>
struct Columns {
    static constexpr bool ALONG_K = false;
    const Layer& a;
    const int unit;  // the first of the tile

    __device__ REAL operator()(int k, int c) const {
        const int u = unit + c % UNITS;
        return u < a.H ? a.W[size_t(k) * G * a.H + c / UNITS * a.H + u] : REAL(0);
    }
};

// The right matrix of the adjoint: the rows of W for a tile of units, transposed.
template <int G>
struct Rows {
    static constexpr bool ALONG_K = true;
    const Layer& a;
    const int unit;

    __device__ REAL operator()(int k, int c) const {
        return unit + c < a.H ? a.W[size_t(unit + c) * G * a.H + k] : REAL(0);
    }
};

__device__ inline REAL sigmoid(REAL x) { return (1 + tanh(x / 2)) / 2; }

// Wait until all blocks of the same streams have called this for the `round`-th time; what they wrote is then visible.
// If that takes longer than MOST_WAIT, or a block gave up before, add to `gave_up` and go on: the results are wrong, but
// the launch ends.
__device__ inline void grid_barrier(const Layer& a, int stream_tile, int round) {
    unsigned* counter = a.counters + stream_tile * 32;
    const unsigned blocks = gridDim.x / a.stream_tiles;
    __syncthreads();
    if (threadIdx.x == 0) {
        jitter(blockIdx.x * 31 + round);
        add_release(counter);
        unsigned long long began = 0;
        for (unsigned loads = 1; load_acquire(counter) < round * blocks; loads++) {
            if (loads % LOADS) continue;
            if (!began) began = nanoseconds();
            if (nanoseconds() - began > MOST_WAIT) add_release(a.gave_up);
            if (load_acquire(a.gave_up)) break;
        }
    }
    __syncthreads();
}

template <class Cell>
__device__ void forward(const Layer& a) {
    constexpr int G = Cell::GATES;
    const int stream_tile = blockIdx.x % a.stream_tiles, first = blockIdx.x / a.stream_tiles * UNITS;
    const Columns<G> weight = {a, first};
    Product<G * UNITS> product(a.H);
    if (RESIDENT) product.load_right(0, a.H, weight);
    for (int t = 0; t < a.T; t++) {
        for (int b0 = stream_tile * STREAMS; b0 < a.B; b0 += a.stream_tiles * STREAMS) {
            const int streams = a.B - b0 < STREAMS ? a.B - b0 : STREAMS;
            product.multiply(a.hidden + (size_t(t) * a.B + b0) * a.H, streams, weight);
            for (int i = threadIdx.x; i < STREAMS * UNITS; i += THREADS) {
                const int s = i / UNITS, u = i % UNITS;
                if (s >= streams || first + u >= a.H) continue;
                const Element e(a, G, t, b0 + s, first + u);
                REAL sums[G];
                for (int g = 0; g < G; g++) sums[g] = e.keep * product(s, g * UNITS + u);
                Cell::forward(a, e, sums);
            }
        }
        if (t + 1 < a.T) grid_barrier(a, stream_tile, t + 1);
    }
}

template <class Cell>
__device__ void backward(const Layer& a) {
    constexpr int G = Cell::GATES;
    const int stream_tile = blockIdx.x % a.stream_tiles, first = blockIdx.x / a.stream_tiles * UNITS;
    const Rows<G> weight = {a, first};
    Product<UNITS> product(G * a.H);
    if (RESIDENT) product.load_right(0, G * a.H, weight);
    for (int t = a.T - 1; t >= 0; t--) {
        const bool last = t == a.T - 1;
        for (int b0 = stream_tile * STREAMS; b0 < a.B; b0 += a.stream_tiles * STREAMS) {
            const int streams = a.B - b0 < STREAMS ? a.B - b0 : STREAMS;
            if (!last) product.multiply(a.z_hidden + (size_t(t + 1) * a.B + b0) * G * a.H, streams, weight);
            for (int i = threadIdx.x; i < STREAMS * UNITS; i += THREADS) {
                const int s = i / UNITS, u = i % UNITS;
                if (s >= streams || first + u >= a.H) continue;
                const Element e(a, G, t, b0 + s, first + u);
                const REAL later = last ? REAL(0) : a.keep_at(t + 1, b0 + s) * product(s, u);
                Cell::backward(a, e, a.dhidden[e.before] + later, last ? REAL(0) : a.carry[e.own]);
            }
        }
        if (t) grid_barrier(a, stream_tile, a.T - t);
    }
}

// Define the two kernels of a cell, to be launched with ceil(H / UNITS) * stream_tiles blocks.
#define RECURRENCE(CELL)                                                                                             \
    KERNEL void __launch_bounds__(THREADS, 1) recurrence_forward(LAYER) { forward<CELL>(Layer{LAYER_VALUES}); }       \
    KERNEL void __launch_bounds__(THREADS, 1) recurrence_backward(LAYER) { backward<CELL>(Layer{LAYER_VALUES}); }

#define LAYER                                                                                                        \
    int T, int B, int H, int stream_tiles, const REAL *W, const REAL *bias, const REAL *keep, REAL *z, REAL *z_hidden, \
        REAL *hidden, REAL *cell_state, const REAL *dhidden, REAL *carry, unsigned *counters,                        \
        unsigned *gave_up
#define LAYER_VALUES                                                                                                 \
    T, B, H, stream_tiles, W, bias, keep, z, z_hidden, hidden, cell_state, dhidden, carry, counters, gave_up
