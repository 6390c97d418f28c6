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
