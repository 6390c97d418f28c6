// h[t] = tanh(z[t] + keep[t] * h[t-1] @ W): see charrnn/model/cells/rnn.py.

#include "recurrence.cuh"

struct Rnn {
    static constexpr int GATES = 1;

    __device__ static void forward(const Layer& a, const Element& e, const REAL* sums) {
        a.hidden[e.after] = tanh(a.z[e.gate] + sums[0]);
    }

    // dz[t] = (1 - h[t]^2) * (dh[t] + keep[t+1] * dz[t+1] @ W.T)   (tanh')
    __device__ static void backward(const Layer& a, const Element& e, REAL dh, REAL) {
        const REAL h = a.hidden[e.after];
        a.z[e.gate] = (1 - h * h) * dh;
    }
};

RECURRENCE(Rnn)
