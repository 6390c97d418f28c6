// Everything after the gradient, in two launches: its norm, the guard's verdict, clipping, the update rule, the average
// of the weights and the state that the next chunk begins with. See charrnn/optim/update.py and charrnn/optim.
//
// Defined from outside: REAL, REAL_BYTES, THREADS (a power of two), RULE, LIMIT (bad steps in a row that shut the guard).

#include "reduce.cuh"

// The sum of grad² of each block's share, in `parts`, one for each block.
KERNEL void __launch_bounds__(THREADS) square_sums(int P, const REAL* grad, REAL* parts) {
    REAL sum = 0;
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < P; i += gridDim.x * THREADS) sum += grad[i] * grad[i];
    sum = together<Sum>(sum, shared_memory()->v);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// Of one step: eps, 1 - beta1 and 1 - beta2 of the rule; 1 / (1 - beta1^step) and (1 - beta2^step)^(-1/2); the rate.
struct Settings {
    REAL eps, blend1, blend2, correction1, correction2, rate;
};

struct Adagrad {
    __device__ static void update(const Settings& s, REAL& p, REAL g, REAL& memory, REAL&) {
        memory += g * g;
        p -= s.rate * (g / sqrt(memory + s.eps));
    }
};

struct RMSprop {
    __device__ static void update(const Settings& s, REAL& p, REAL g, REAL& square, REAL&) {
        square += s.blend2 * (g * g - square);
        p -= s.rate * (g / (sqrt(square) + s.eps));
    }
};

struct Adam {
    __device__ static void update(const Settings& s, REAL& p, REAL g, REAL& mean, REAL& square) {
        mean += s.blend1 * (g - mean);
        square += s.blend2 * (g * g - square);
        p -= s.rate * s.correction1 * (mean / (sqrt(square) * s.correction2 + s.eps));
    }
};

// Clip to ±bound; NaN stays NaN, which fmin and fmax would swallow.
__device__ inline REAL clipped(REAL x, REAL bound) { return x < -bound ? -bound : x > bound ? bound : x; }

// Judge the step by `loss` (0-d, summed nats) times `per_character` and the norm that `parts` (count) add up to; if it
// counts, clip the gradient to `clip_norm` and ±`clip_value` (0: not at all), decay the weights that have a 1 in
// `decayed` by `decay`, apply the RULE, move the average by `blend` towards them, and copy the states (S,) after it.
//
// All blocks judge alike, from what the launch before left; the guard's new values go where none of them reads. `trace`
// gets loss and norm. `memory2`, `average` and `decayed` (P,), and the second pair of states, may be null.
KERNEL void __launch_bounds__(THREADS, 4)
    apply_update(int P, int S, int count, REAL per_character, REAL rate, REAL clip_norm, REAL clip_value, REAL decay, REAL blend,
           REAL eps, REAL blend1, REAL blend2, REAL correction1, REAL correction2, const REAL* loss, const REAL* parts,
           const REAL* scale, const REAL* bad, REAL* next_scale, REAL* next_bad, REAL* trace, const REAL* grad,
           REAL* params, REAL* memory, REAL* memory2, REAL* average, const REAL* decayed, const REAL* after, REAL* state,
           const REAL* after2, REAL* state2) {
    REAL sum = 0, none = 0;
    for (int i = threadIdx.x; i < count; i += THREADS) sum += parts[i];
    const REAL norm = sqrt(together<Sum>(sum, shared_memory()->v)), mean = loss[0] * per_character;
    const bool finite = isfinite(mean + norm), shut = bad[0] >= LIMIT;
    const REAL scaled = finite || shut ? scale[0] : scale[0] / 2;
    const int first = blockIdx.x * THREADS + threadIdx.x, stride = gridDim.x * THREADS;
    if (first == 0) {
        trace[0] = mean, trace[1] = norm, next_scale[0] = scaled;
        next_bad[0] = shut ? bad[0] : finite ? REAL(0) : bad[0] + 1;
    }
    if (!finite || shut) return;
    const Settings s = {eps, blend1, blend2, correction1, correction2, scaled * rate};
    const REAL shrink = clip_norm > 0 && norm > clip_norm ? clip_norm / norm : REAL(1);
    for (int i = first; i < P; i += stride) {
        REAL p = params[i], g = grad[i] * shrink;
        if (clip_value > 0) g = clipped(g, clip_value);
        if (decayed) p *= 1 - s.rate * decay * decayed[i];
        RULE::update(s, p, g, memory[i], memory2 ? memory2[i] : none);
        params[i] = p;
        if (average) average[i] += blend * (p - average[i]);
    }
    for (int i = first; i < S; i += stride) {
        state[i] = after[i];
        if (state2) state2[i] = after2[i];
    }
}
