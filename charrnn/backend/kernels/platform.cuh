// The functions of a GPU that kernels use. Tests replace this file by one for a CPU, and run the kernels there.
// Macros: REAL (float or double), REAL_BYTES.

#define KERNEL extern "C" __global__

// Four numbers that are loaded and stored together.
struct alignas(16) Quad {
    REAL v[4];
};

// Return the block's shared memory, 16-byte aligned; the launch sets its size.
__device__ inline Quad* shared_memory() {
    extern __shared__ Quad memory[];
    return memory;
}

// Load a number that another block may have written in this launch: from L2, because L1 may hold an old value.
__device__ inline REAL load_l2(const REAL* p) { return __ldcg(p); }

#if REAL_BYTES == 4
__device__ inline Quad load_l2_quad(const REAL* p) {
    const float4 four = __ldcg(reinterpret_cast<const float4*>(p));
    return {four.x, four.y, four.z, four.w};
}
#else
__device__ inline Quad load_l2_quad(const REAL* p) {
    return {load_l2(p), load_l2(p + 1), load_l2(p + 2), load_l2(p + 3)};
}
#endif

// Return the high 64 bits of a product.
__device__ inline unsigned long long high_product(unsigned long long a, unsigned long long b) { return __umul64hi(a, b); }

// Add one to a counter. What the block wrote before its last __syncthreads() is visible to a thread that reads the new
// value by `load_acquire`.
__device__ inline void add_release(unsigned* counter) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

__device__ inline unsigned load_acquire(const unsigned* counter) {
    unsigned value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(counter) : "memory");
    return value;
}

// The longest wait at the barrier between blocks, in nanoseconds of `nanoseconds`.
#ifndef MOST_WAIT
#define MOST_WAIT 2000000000ull
#endif

// Return the time of the card's clock.
__device__ inline unsigned long long nanoseconds() {
    unsigned long long time;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(time));
    return time;
}

// In a stress test (macro JITTER: nanoseconds), pause for a pseudo-random time before a block signals the others.
#ifdef JITTER
__device__ inline void jitter(unsigned seed) {
    __nanosleep((seed * 2654435761u >> 16) % JITTER);
}
#else
__device__ inline void jitter(unsigned) {}
#endif
