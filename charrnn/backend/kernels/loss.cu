// Softmax cross-entropy and its gradient, one row of logits a block: see charrnn/model/bptt.py.

#include "reduce.cuh"

// Write nats (N,) = -log softmax(logits)[target], and replace logits (N, V) by scale * (softmax - one_hot(target)).
KERNEL void __launch_bounds__(THREADS)
    cross_entropy(int V, REAL scale, const long long* targets, REAL* logits, REAL* nats) {
    REAL* scratch = shared_memory()->v;
    REAL* row = logits + size_t(blockIdx.x) * V;
    const int target = int(targets[blockIdx.x]);
    REAL most = row[0], sum = 0;
    for (int v = threadIdx.x; v < V; v += THREADS) most = Max::of(row[v], most);
    most = block_reduce<Max>(most, scratch);
    const REAL shifted = row[target] - most;
    __syncthreads();  // all threads have read the target's logit
    for (int v = threadIdx.x; v < V; v += THREADS) sum += row[v] = exp(row[v] - most);
    sum = block_reduce<Sum>(sum, scratch);
    for (int v = threadIdx.x; v < V; v += THREADS) row[v] = row[v] * (scale / sum) - (v == target ? scale : REAL(0));
    if (threadIdx.x == 0) nats[blockIdx.x] = log(sum) - shifted;
}
