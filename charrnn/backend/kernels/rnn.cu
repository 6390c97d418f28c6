// h[t] = tanh(z[t] + k[t] · h[t-1] @ W): see charrnn/model/cells/rnn.py.

#include "recurrence.cuh"

struct Rnn {
    static constexpr int GATES = 1;

    __device__ static void forward(const Layer& a, const Place& p, const REAL* sums) {
        a.hidden[p.after] = tanh(a.z[p.gate] + sums[0]);
    }

    // dz[t] = (1 - h[t]²) · (dh[t] + k[t+1] · dz[t+1] @ Wᵀ)
    __device__ static void backward(const Layer& a, const Place& p, REAL dh, REAL) {
        const REAL h = a.hidden[p.after];
        a.z[p.gate] = (1 - h * h) * dh;
    }
};

RECURRENCE(Rnn)
