// r, y = sigmoid(zr), sigmoid(zy); u = keep * h[t-1] @ Wn + bn; n = tanh(zn + r * u);
// h[t] = (1 - y) * n + y * keep * h[t-1]: see charrnn/model/cells/gru.py.

#include "recurrence.cuh"

struct Gru {
    static constexpr int GATES = 3;

    __device__ static void forward(const Layer& a, const Element& e, const REAL* sums) {
        REAL *z = a.z + e.gate, u = sums[2] + a.bias[e.unit];
        const REAL r = sigmoid(z[0] + sums[0]), y = sigmoid(z[a.H] + sums[1]), n = tanh(z[2 * a.H] + r * u);
        a.hidden[e.after] = n + y * (e.keep * load_l2(a.hidden + e.before) - n);
        z[0] = r, z[a.H] = y, z[2 * a.H] = n;
        a.z_hidden[e.gate] = u;
    }

    // dh[t] += keep[t+1] * (y[t+1] * dh[t+1] + dz_hidden[t+1] @ W.T), whose first term is `carry`
    // dzn = (1 - y) * (1 - n^2) * dh;  dzy = y * (1 - y) * (keep * h[t-1] - n) * dh;  dzr = r * (1 - r) * u * dzn
    // dz_hidden = dzr, dzy, r * dzn
    __device__ static void backward(const Layer& a, const Element& e, REAL dh, REAL carry) {
        REAL *z = a.z + e.gate, *z_hidden = a.z_hidden + e.gate;
        const REAL r = z[0], y = z[a.H], n = z[2 * a.H], u = z_hidden[0];
        dh += carry;
        a.carry[e.own] = e.keep * y * dh;
        const REAL dzn = (1 - y) * (1 - n * n) * dh;
        z[0] = z_hidden[0] = r * (1 - r) * u * dzn;
        z[a.H] = z_hidden[a.H] = y * (1 - y) * (e.keep * a.hidden[e.before] - n) * dh;
        z[2 * a.H] = dzn;
        z_hidden[2 * a.H] = r * dzn;
    }
};

RECURRENCE(Gru)
