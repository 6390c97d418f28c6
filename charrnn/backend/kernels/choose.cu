// The next character of each stream, a block of threads for one: see charrnn/sampling/distribution.py.
//
// Numbers are doubles whatever the logits are, so that a text is the CPU's. Sums have a fixed order, and up to as many
// characters as there are threads those of weights have the CPU's. Nothing is sorted: a cut looks for the value of the
// logit at its edge, bit by bit.
//
// Defined from outside: REAL, which is double, REAL_BYTES, THREADS (a power of two), LOGIT (float or double).

#include "reduce.cuh"

constexpr REAL LARGEST = 0x1.fffffffffffffp1023;
constexpr int SPARE = sizeof(LOGIT) == 4 ? 29 : 0;  // low bits in which no two doubles made of logits differ alone

// The characters of a stream, of which this thread has first, ..., last - 1 to itself.
struct Stream {
    const LOGIT* logits;  // (V,)
    REAL* weights;        // (V,) of the tempered distribution, the likeliest 1; 0 for what is cut
    REAL* scratch;        // THREADS numbers of shared memory
    int first, last;

    // NaN counts as least likely, infinity as the largest number; zero has no sign.
    __device__ REAL logit(int v) const {
        const REAL x = logits[v];
        return x > LARGEST ? LARGEST : x >= -LARGEST ? x + 0 : -LARGEST;
    }

    // An integer for a logit: equal for equal ones, larger for larger ones.
    __device__ unsigned long long key(int v) const {
        const unsigned long long sign = 1ull << 63, n = bits(logit(v));
        return (n & sign ? ~n : n | sign) >> SPARE;
    }

    __device__ void weigh(REAL temperature) const {
        REAL top = -LARGEST;
        for (int v = first; v < last; v++) top = Max::of(logit(v), top);
        top = together<Max>(top, scratch);
        for (int v = first; v < last; v++) weights[v] = exp((logit(v) - top) / temperature);
    }

    // How much all characters with a key of at least `bar` measure together.
    template <class Measure>
    __device__ REAL reach(unsigned long long bar) const {
        REAL sum = 0;
        for (int v = first; v < last; v++)
            if (key(v) >= bar) sum += Measure::of(weights[v]);
        return together<Sum>(sum, scratch);
    }

    // Keep a character only if what is likelier, of equals what comes first, measures less than `most` together.
    template <class Measure>
    __device__ void cut(REAL most) const {
        unsigned long long edge = 0;  // the largest key from which on everything reaches `most`
        for (int bit = 63 - SPARE; bit >= 0; bit--)
            if (reach<Measure>(edge | 1ull << bit) >= most) edge |= 1ull << bit;
        REAL equal = 0, before = reach<Measure>(edge + 1);
        for (int v = first; v < last; v++)
            if (key(v) == edge) equal += Measure::of(weights[v]);
        before += in_order(equal, scratch).before;
        for (int v = first; v < last; v++) {
            const REAL own = key(v) == edge ? Measure::of(weights[v]) : REAL(0);
            if (key(v) < edge || (key(v) == edge && before >= most)) weights[v] = 0;
            before += own;
        }
    }

    // The first character at which the running sum of weights exceeds u times their total. u is at most 1 - 2**-53, so
    // u · total stays below the total also when rounded: one thread finds it in its stretch. Should its own sum end
    // lower by rounding, the last character that may come is the one.
    __device__ void draw(REAL u, long long* id) const {
        REAL sum = 0;
        for (int v = first; v < last; v++) sum += weights[v];
        const Running running = in_order(sum, scratch);
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

// The ids (B,) that uniforms (B,) choose from logits (B, V), with scratch memory for weights (B, V); a block a stream.
// temperature is above 0; top_k is 1, ..., V, and V cuts nothing; nor does a top_p of 1.
KERNEL void __launch_bounds__(THREADS)
    choose(int V, int top_k, REAL temperature, REAL top_p, const LOGIT* logits, const REAL* uniforms, REAL* weights,
           long long* ids) {
    const int each = (V + THREADS - 1) / THREADS, first = threadIdx.x * each, last = first + each;
    const size_t row = size_t(blockIdx.x) * V;
    const Stream stream = {logits + row, weights + row, shared_memory()->v, first, last < V ? last : V};
    stream.weigh(temperature);
    if (top_k < V) stream.cut<Count>(top_k);
    if (top_p < 1) stream.cut<Weight>(top_p * stream.reach<Weight>(0));
    stream.draw(uniforms[blockIdx.x], ids + blockIdx.x);
}
