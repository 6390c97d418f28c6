// Sums and maxima over a block, the same for the same number of threads: a tree of fixed shape, or a running sum.

#include "platform.cuh"

struct Sum {
    __device__ static REAL of(REAL a, REAL b) { return a + b; }
};

struct Max {  // NaN is passed on: a comparison with it is false
    __device__ static REAL of(REAL a, REAL b) { return a > b || a != a ? a : b; }
};

// Every thread's value put together, in every thread. `scratch` has room for THREADS numbers, a power of two.
template <class Operation>
__device__ inline REAL together(REAL value, REAL* scratch) {
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

// Of a sum over the threads in their order: what it is before and after this one, and in the end. Each thread's `after`
// is the next one's `before`, to the bit.
struct Running {
    REAL before, after, total;
};

// The running sum of every thread's value. `scratch` has room for THREADS numbers.
__device__ inline Running in_order(REAL value, REAL* scratch) {
    const int i = threadIdx.x;
    __syncthreads();
    scratch[i] = value;
    __syncthreads();
    for (int n = 1; n < THREADS && i == 0; n++) scratch[n] += scratch[n - 1];
    __syncthreads();
    return {i ? scratch[i - 1] : REAL(0), scratch[i], scratch[THREADS - 1]};
}
