// Everything that follows the gradient, in two launches: its norm, the guard, clipping, weight decay, the update rule,
// the average of the weights and the state that the next chunk starts with. See charrnn/optim/rules.py.
//
// Macros: REAL, REAL_BYTES, THREADS (a power of two), RULE, LIMIT (the guard's).

#include "reduce.cuh"

// Write the sum of grad^2 of each block's share into `parts`, one for each block.
KERNEL void __launch_bounds__(THREADS) square_sums(int P, const REAL* grad, REAL* parts) {
    REAL sum = 0;
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < P; i += gridDim.x * THREADS) sum += grad[i] * grad[i];
    sum = block_reduce<Sum>(sum, shared_memory()->v);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// The settings of one step t: eps, 1 - beta1 and 1 - beta2; 1 / (1 - beta1^t) and (1 - beta2^t)^(-1/2); the rate.
struct Settings {
    REAL eps, share1, share2, correction1, correction2, rate;
};

struct Adagrad {
    __device__ static void update(const Settings& s, REAL& p, REAL g, REAL& square_sum, REAL&) {
        square_sum += g * g;
        p -= s.rate * (g / sqrt(square_sum + s.eps));
    }
};

struct RMSprop {
    __device__ static void update(const Settings& s, REAL& p, REAL g, REAL& square, REAL&) {
        square += s.share2 * (g * g - square);
        p -= s.rate * (g / (sqrt(square) + s.eps));
    }
};

struct Adam {
    __device__ static void update(const Settings& s, REAL& p, REAL g, REAL& mean, REAL& square) {
        mean += s.share1 * (g - mean);
        square += s.share2 * (g * g - square);
        p -= s.rate * s.correction1 * (mean / (sqrt(square) * s.correction2 + s.eps));
    }
};

// Clip to [-bound, bound]; NaN stays NaN (fmin and fmax would drop it).
__device__ inline REAL clipped(REAL x, REAL bound) { return x < -bound ? -bound : x > bound ? bound : x; }

// Judge the step by `loss` (0-d, summed nats) times `per_character` and by the norm: the root of the sum of `parts`
// (count). Unless it is skipped, clip the gradient to `clip_norm` and +-`clip_value` (0: no clipping), decay the weights
// that have a 1 in `decayed` by `decay`, apply the RULE, move the average by `share` toward the weights, and copy the
// states (S,) after the chunk.
//
// All blocks judge alike, from the arrays of the launch before; the guard's new values go to other arrays. `trace` gets
// loss, norm, scale and bad. `slot2`, `average` and `decayed` (P,), and the second pair of states, may be null.
KERNEL void __launch_bounds__(THREADS, 4)
    apply_update(int P, int S, int count, REAL per_character, REAL rate, REAL clip_norm, REAL clip_value, REAL decay,
                 REAL share, REAL eps, REAL share1, REAL share2, REAL correction1, REAL correction2, const REAL* loss,
                 const REAL* parts, const REAL* scale, const REAL* bad, REAL* next_scale, REAL* next_bad, REAL* trace,
                 const REAL* grad, REAL* params, REAL* slot1, REAL* slot2, REAL* average, const REAL* decayed,
                 const REAL* after, REAL* state, const REAL* after2, REAL* state2) {
    REAL sum = 0, none = 0;
    for (int i = threadIdx.x; i < count; i += THREADS) sum += parts[i];
    const REAL norm = sqrt(block_reduce<Sum>(sum, shared_memory()->v)), mean = loss[0] * per_character;
    const bool finite = isfinite(mean + norm), stopped = bad[0] >= LIMIT;
    const REAL scaled = finite || stopped ? scale[0] : scale[0] / 2;
    const int first = blockIdx.x * THREADS + threadIdx.x, stride = gridDim.x * THREADS;
    if (first == 0) {
        next_scale[0] = scaled;
        next_bad[0] = stopped ? bad[0] : finite ? REAL(0) : bad[0] + 1;
        trace[0] = mean, trace[1] = norm, trace[2] = scaled, trace[3] = next_bad[0];
    }
    if (!finite || stopped) return;
    const Settings s = {eps, share1, share2, correction1, correction2, scaled * rate};
    const REAL shrink = clip_norm > 0 && norm > clip_norm ? clip_norm / norm : REAL(1);
    for (int i = first; i < P; i += stride) {
        REAL p = params[i], g = grad[i] * shrink;
        if (clip_value > 0) g = clipped(g, clip_value);
        if (decayed) p *= 1 - s.rate * decay * decayed[i];
        RULE::update(s, p, g, slot1[i], slot2 ? slot2[i] : none);
        params[i] = p;
        if (average) average[i] += share * (p - average[i]);
    }
    for (int i = first; i < S; i += stride) {
        state[i] = after[i];
        if (state2) state2[i] = after2[i];
    }
}
