// The names of charrnn/backend/kernels/platform.cuh for a CPU: every CUDA thread is a thread, and shared memory the block's own.
// What a kernel does for itself, such as the meeting of blocks, is not replaced: it runs as it is, on atomics.

#include <atomic>
#include <barrier>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(...)
#define KERNEL static

using std::exp, std::isfinite, std::log, std::sqrt, std::tanh;

struct alignas(16) Quad {
    REAL v[4];
};

struct Index {
    unsigned x;
};

inline thread_local Index threadIdx, blockIdx, blockDim, gridDim;
inline thread_local std::barrier<>* block_barrier;
inline thread_local Quad* block_memory;

inline void __syncthreads() { block_barrier->arrive_and_wait(); }
inline Quad* shared_memory() { return block_memory; }

inline unsigned long long bits(double x) { return std::bit_cast<unsigned long long>(x); }

inline REAL fresh(const REAL* p) { return *p; }
inline Quad fresh_quad(const REAL* p) { return {p[0], p[1], p[2], p[3]}; }

#ifdef WEAK  // a meeting that orders nothing: what the tests must notice
constexpr auto RELEASE = std::memory_order_relaxed, ACQUIRE = std::memory_order_relaxed;
#else
constexpr auto RELEASE = std::memory_order_release, ACQUIRE = std::memory_order_acquire;
#endif

inline void announce(unsigned* counter) { std::atomic_ref(*counter).fetch_add(1, RELEASE); }

inline unsigned look(const unsigned* counter) {
    const unsigned value = std::atomic_ref(*const_cast<unsigned*>(counter)).load(ACQUIRE);
    std::this_thread::yield();
    return value;
}

inline void dawdle(unsigned seed) {
    for (unsigned i = seed * 2654435761u >> 28; i; i--) std::this_thread::yield();
}

// Run a kernel with `args`, which are pointers to its arguments, as cuLaunchKernel takes them.
template <class... Args, size_t... I>
void launch(void (*kernel)(Args...), int grid, int block, int shared, void** args, std::index_sequence<I...>) {
    const std::tuple<Args...> values{*static_cast<Args*>(args[I])...};
    std::vector<std::vector<Quad>> memory(grid, std::vector<Quad>(shared / sizeof(Quad)));
    std::vector<std::unique_ptr<std::barrier<>>> barriers;
    for (int b = 0; b < grid; b++) barriers.push_back(std::make_unique<std::barrier<>>(block));
    for (auto& m : memory) std::memset(m.data(), 0xff, m.size() * sizeof(Quad));  // NaN: nothing is zero by itself
    std::vector<std::thread> threads;
    for (int i = 0; i < grid * block; i++)
        threads.emplace_back([&, i] {
            blockDim.x = block, gridDim.x = grid, blockIdx.x = i / block, threadIdx.x = i % block;
            block_barrier = barriers[i / block].get(), block_memory = memory[i / block].data();
            std::apply(kernel, values);
        });
    for (auto& thread : threads) thread.join();
}

template <class... Args>
void launch(void (*kernel)(Args...), int grid, int block, int shared, void** args) {
    launch(kernel, grid, block, shared, args, std::index_sequence_for<Args...>());
}

#define LAUNCHER(kernel) \
    extern "C" void launch_##kernel(int grid, int block, int shared, void** args) { launch(kernel, grid, block, shared, args); }
