// i, f, o = sigmoid(zi), sigmoid(zf), sigmoid(zo); g = tanh(zg); c[t] = f * keep * c[t-1] + i * g;
// h[t] = o * tanh(c[t]): see charrnn/model/cells/lstm.py.

#include "recurrence.cuh"

struct Lstm {
    static constexpr int GATES = 4;

    __device__ static void forward(const Layer& a, const Element& e, const REAL* sums) {
        REAL* z = a.z + e.gate;
        const REAL i = sigmoid(z[0] + sums[0]), f = sigmoid(z[a.H] + sums[1]);
        const REAL g = tanh(z[2 * a.H] + sums[2]), o = sigmoid(z[3 * a.H] + sums[3]);
        const REAL c = f * e.keep * a.cell_state[e.before] + i * g;
        a.cell_state[e.after] = c;
        a.hidden[e.after] = o * tanh(c);
        z[0] = i, z[a.H] = f, z[2 * a.H] = g, z[3 * a.H] = o;
    }

    // dc[t] = keep[t+1] * f[t+1] * dc[t+1] + o * (1 - tanh(c[t])^2) * dh[t], whose first term is `carry`
    // dzi = i * (1 - i) * g * dc;  dzf = f * (1 - f) * keep * c[t-1] * dc;  dzg = (1 - g^2) * i * dc
    // dzo = o * (1 - o) * tanh(c[t]) * dh
    __device__ static void backward(const Layer& a, const Element& e, REAL dh, REAL carry) {
        REAL* z = a.z + e.gate;
        const REAL i = z[0], f = z[a.H], g = z[2 * a.H], o = z[3 * a.H];
        const REAL tanh_c = tanh(a.cell_state[e.after]), dc = carry + o * (1 - tanh_c * tanh_c) * dh;
        a.carry[e.own] = e.keep * f * dc;
        z[0] = i * (1 - i) * g * dc;
        z[a.H] = f * (1 - f) * e.keep * a.cell_state[e.before] * dc;
        z[2 * a.H] = (1 - g * g) * i * dc;
        z[3 * a.H] = o * (1 - o) * tanh_c * dh;
    }
};

RECURRENCE(Lstm)
