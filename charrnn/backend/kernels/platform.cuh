// What kernels need of a GPU beyond C++: everything that a CPU would do otherwise stands here, behind a name.
// Included once REAL, float or double, is defined.

#define KERNEL extern "C" __global__

// Four numbers that are read and written together.
struct alignas(16) Quad {
    REAL v[4];
};

// The block's shared memory, whose size the launch decides; 16-byte aligned.
__device__ inline Quad* shared_memory() {
    extern __shared__ Quad memory[];
    return memory;
}

// The bits of a number.
__device__ inline unsigned long long bits(double x) { return __double_as_longlong(x); }

// Read what another block wrote during this launch: from L2, as an L1 cache may hold what was there before.
__device__ inline REAL fresh(const REAL* p) { return __ldcg(p); }

#if REAL_BYTES == 4
__device__ inline Quad fresh_quad(const REAL* p) {
    const float4 four = __ldcg(reinterpret_cast<const float4*>(p));
    return {four.x, four.y, four.z, four.w};
}
#else
__device__ inline Quad fresh_quad(const REAL* p) { return {fresh(p), fresh(p + 1), fresh(p + 2), fresh(p + 3)}; }
#endif

// Add one to a counter that other blocks watch: what this thread wrote, or saw written before a __syncthreads(), is
// visible to whoever reads the new value by `look`.
__device__ inline void announce(unsigned* counter) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

__device__ inline unsigned look(const unsigned* counter) {
    unsigned value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(counter) : "memory");
    return value;
}

// In a stress test, a pause of arbitrary length between what a block writes and its announcement.
#ifdef JITTER
__device__ inline void dawdle(unsigned seed) {
    __nanosleep((seed * 2654435761u >> 16) % JITTER);
}
#else
__device__ inline void dawdle(unsigned) {}
#endif
