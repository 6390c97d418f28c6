// The functions of charrnn/backend/kernels/platform.cuh for a CPU. Each CUDA thread is a thread of the system, and
// __syncthreads() a barrier. The barrier between blocks is the kernel's own code, and runs on atomics here.

#include <atomic>
#include <barrier>
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

inline REAL load_l2(const REAL* p) { return *p; }
inline Quad load_l2_quad(const REAL* p) { return {p[0], p[1], p[2], p[3]}; }

inline unsigned long long high_product(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned __int128>(a) * b >> 64;
}

#ifdef RELAXED  // a barrier that orders no memory, which a test must detect
constexpr auto RELEASE = std::memory_order_relaxed, ACQUIRE = std::memory_order_relaxed;
#else
constexpr auto RELEASE = std::memory_order_release, ACQUIRE = std::memory_order_acquire;
#endif

inline void add_release(unsigned* counter) { std::atomic_ref(*counter).fetch_add(1, RELEASE); }

inline unsigned load_acquire(const unsigned* counter) {
    const unsigned value = std::atomic_ref(*const_cast<unsigned*>(counter)).load(ACQUIRE);
    std::this_thread::yield();
    return value;
}

#define MOST_WAIT 2000000000ull
inline unsigned long long nanoseconds() { return 0; }  // a barrier waits as long as a busy machine needs

inline void jitter(unsigned seed) {
    for (unsigned i = seed * 2654435761u >> 28; i; i--) std::this_thread::yield();
}

// Run a kernel with `args`, pointers to its arguments, as cuLaunchKernel does.
template <class... Args, size_t... I>
void launch(void (*kernel)(Args...), int grid, int block, int shared, void** args, std::index_sequence<I...>) {
    const std::tuple<Args...> values{*static_cast<Args*>(args[I])...};
    std::vector<std::vector<Quad>> memory(grid, std::vector<Quad>(shared / sizeof(Quad)));
    std::vector<std::unique_ptr<std::barrier<>>> barriers;
    for (int b = 0; b < grid; b++) barriers.push_back(std::make_unique<std::barrier<>>(block));
    for (auto& m : memory) std::memset(m.data(), 0xff, m.size() * sizeof(Quad));  // NaN: memory is not zero by chance
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
