// Choose the next character of each stream, one stream a block: see charrnn/sampling/distribution.py.
//
// All numbers are doubles, whatever type the logits have, so that a GPU writes the same text as the CPU. Sums have a
// fixed order; if there are at most as many characters as threads, sums of weights have the CPU's order. Nothing is
// sorted: truncation finds the value of the smallest logit that is kept by a search over its bits.
//
// Macros: REAL, which is double, REAL_BYTES, THREADS (a power of two), LOGIT (float or double).

#include "reduce.cuh"

constexpr REAL LARGEST = 0x1.fffffffffffffp1023;
constexpr int SPARE = sizeof(LOGIT) == 4 ? 29 : 0;  // low bits, in which no two doubles from floats differ

// The characters of a stream; this thread processes first, ..., last - 1.
struct Stream {
    const LOGIT* logits;  // (V,)
    REAL* weights;        // (V,): unnormalized probabilities, 1 for the likeliest character, 0 for those that are cut
    REAL* scratch;        // THREADS numbers in shared memory
    int first, last;

    // Return a logit with NaN replaced by the smallest number, infinity by the largest, and -0 by 0.
    __device__ REAL logit(int v) const {
        const REAL x = logits[v];
        return x > LARGEST ? LARGEST : x >= -LARGEST ? x + 0 : -LARGEST;
    }

    // Return an integer that orders characters as their logits do: equal for equal logits, larger for larger ones.
    __device__ unsigned long long key(int v) const {
        const unsigned long long sign = 1ull << 63, n = bits(logit(v));
        return (n & sign ? ~n : n | sign) >> SPARE;
    }

    __device__ void set_weights(REAL temperature) const {
        REAL top = -LARGEST;
        for (int v = first; v < last; v++) top = Max::of(logit(v), top);
        top = block_reduce<Max>(top, scratch);
        for (int v = first; v < last; v++) weights[v] = exp((logit(v) - top) / temperature);
    }

    // Return the sum of Measure over the characters with a key of at least `threshold`.
    template <class Measure>
    __device__ REAL sum_from(unsigned long long threshold) const {
        REAL sum = 0;
        for (int v = first; v < last; v++)
            if (key(v) >= threshold) sum += Measure::of(weights[v]);
        return block_reduce<Sum>(sum, scratch);
    }

    // Keep a character only if the Measure of all likelier characters, and of equally likely ones before it, sums up to
    // less than `most`.
    template <class Measure>
    __device__ void truncate(REAL most) const {
        unsigned long long edge = 0;  // the largest key whose sum_from is at least `most`
        for (int bit = 63 - SPARE; bit >= 0; bit--)
            if (sum_from<Measure>(edge | 1ull << bit) >= most) edge |= 1ull << bit;
        REAL equal = 0, before = sum_from<Measure>(edge + 1);
        for (int v = first; v < last; v++)
            if (key(v) == edge) equal += Measure::of(weights[v]);
        before += prefix_sum(equal, scratch).before;
        for (int v = first; v < last; v++) {
            const REAL own = key(v) == edge ? Measure::of(weights[v]) : REAL(0);
            if (key(v) < edge || (key(v) == edge && before >= most)) weights[v] = 0;
            before += own;
        }
    }

    // Choose the first character at which the running sum of weights exceeds u times their total. u is at most
    // 1 - 2**-53, so u * total is below the total even when rounded: one thread finds the character in its range. If
    // rounding makes that thread's own sum end too low, its last character with a positive weight is chosen.
    __device__ void draw(REAL u, long long* id) const {
        REAL sum = 0;
        for (int v = first; v < last; v++) sum += weights[v];
        const PrefixSum running = prefix_sum(sum, scratch);
        const REAL target = u * running.total;
        if (target < running.before || target >= running.after) return;
        sum = running.before;
        for (int v = first; v < last && sum <= target; v++) {
            if (weights[v] > 0) *id = v;
            sum += weights[v];
        }
    }
};

struct Count {
    __device__ static REAL of(REAL) { return 1; }
};

struct Weight {
    __device__ static REAL of(REAL weight) { return weight; }
};

// Write the ids (B,) that uniforms (B,) choose from logits (B, V), with scratch memory for weights (B, V).
// temperature > 0; 1 <= top_k <= V, where V cuts nothing; 0 < top_p <= 1, where 1 cuts nothing.
KERNEL void __launch_bounds__(THREADS)
    choose(int V, int top_k, REAL temperature, REAL top_p, const LOGIT* logits, const REAL* uniforms, REAL* weights,
           long long* ids) {
    const int each = (V + THREADS - 1) / THREADS, first = threadIdx.x * each, last = first + each;
    const size_t row = size_t(blockIdx.x) * V;
    const Stream stream = {logits + row, weights + row, shared_memory()->v, first, last < V ? last : V};
    stream.set_weights(temperature);
    if (top_k < V) stream.truncate<Count>(top_k);
    if (top_p < 1) stream.truncate<Weight>(top_p * stream.sum_from<Weight>(0));
    stream.draw(uniforms[blockIdx.x], ids + blockIdx.x);
}
