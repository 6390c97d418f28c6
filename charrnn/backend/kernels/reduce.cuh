// Sums and maxima over the threads of a block. Their order is fixed, so the same number of threads gives the same bits.

#include "platform.cuh"

struct Sum {
    __device__ static REAL of(REAL a, REAL b) { return a + b; }
};

struct Max {  // NaN is kept: every comparison with it is false
    __device__ static REAL of(REAL a, REAL b) { return a > b || a != a ? a : b; }
};

// Return in every thread the sum (or maximum) of all threads' values. `scratch` has THREADS numbers, a power of two.
template <class Operation>
__device__ inline REAL block_reduce(REAL value, REAL* scratch) {
    const int i = threadIdx.x;
    __syncthreads();
    scratch[i] = value;
    for (int half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (i < half) scratch[i] = Operation::of(scratch[i], scratch[i + half]);
    }
    __syncthreads();
    return scratch[0];
}

// A running sum over the threads, in their order: before and after this thread's value, and at the end. A thread's
// `after` has the same bits as the `before` of the next thread.
struct PrefixSum {
    REAL before, after, total;
};

// Return the running sum of the threads' values. `scratch` has THREADS numbers.
__device__ inline PrefixSum prefix_sum(REAL value, REAL* scratch) {
    const int i = threadIdx.x;
    __syncthreads();
    scratch[i] = value;
    __syncthreads();
    for (int n = 1; n < THREADS && i == 0; n++) scratch[n] += scratch[n - 1];
    __syncthreads();
    return {i ? scratch[i - 1] : REAL(0), scratch[i], scratch[THREADS - 1]};
}
