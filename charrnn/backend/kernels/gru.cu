// r, y = σ(zr), σ(zy), n = tanh(zn + r ⊙ u), u = k · h[t-1] @ Wn + bn; h[t] = (1 - y) ⊙ n + y ⊙ k · h[t-1]:
// see charrnn/model/cells/gru.py.

#include "recurrence.cuh"

struct Gru {
    static constexpr int GATES = 3;

    __device__ static void forward(const Layer& a, const Place& p, const REAL* sums) {
        REAL *z = a.z + p.gate, u = sums[2] + a.bias[p.unit];
        const REAL r = sigmoid(z[0] + sums[0]), y = sigmoid(z[a.H] + sums[1]), n = tanh(z[2 * a.H] + r * u);
        a.hidden[p.after] = n + y * (p.kept * fresh(a.hidden + p.before) - n);
        z[0] = r, z[a.H] = y, z[2 * a.H] = n;
        a.z_hidden[p.gate] = u;
    }

    // dh[t] += k[t+1] · (y[t+1] ⊙ dh[t+1] + dz_hidden[t+1] @ Wᵀ), whose first part is carry
    // dzn = (1-y) (1-n²) ⊙ dh;  dzy = y (1-y) (k · h[t-1] - n) ⊙ dh;  dzr = r (1-r) u ⊙ dzn
    // dz_hidden = dzr, dzy, r ⊙ dzn
    __device__ static void backward(const Layer& a, const Place& p, REAL dh, REAL carry) {
        REAL *z = a.z + p.gate, *z_hidden = a.z_hidden + p.gate;
        const REAL r = z[0], y = z[a.H], n = z[2 * a.H], u = z_hidden[0];
        dh += carry;
        a.carry[p.own] = p.kept * y * dh;
        const REAL dzn = (1 - y) * (1 - n * n) * dh;
        z[0] = z_hidden[0] = r * (1 - r) * u * dzn;
        z[a.H] = z_hidden[a.H] = y * (1 - y) * (p.kept * a.hidden[p.before] - n) * dh;
        z[2 * a.H] = dzn;
        z_hidden[2 * a.H] = r * dzn;
    }
};

RECURRENCE(Gru)
