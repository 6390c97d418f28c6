// i, f, o = σ(zi), σ(zf), σ(zo), g = tanh(zg); c[t] = f ⊙ k · c[t-1] + i ⊙ g; h[t] = o ⊙ tanh(c[t]):
// see charrnn/model/cells/lstm.py.

#include "recurrence.cuh"

struct Lstm {
    static constexpr int GATES = 4;

    __device__ static void forward(const Layer& a, const Place& p, const REAL* sums) {
        REAL* z = a.z + p.gate;
        const REAL i = sigmoid(z[0] + sums[0]), f = sigmoid(z[a.H] + sums[1]);
        const REAL g = tanh(z[2 * a.H] + sums[2]), o = sigmoid(z[3 * a.H] + sums[3]);
        const REAL c = f * p.kept * a.memory[p.before] + i * g;
        a.memory[p.after] = c;
        a.hidden[p.after] = o * tanh(c);
        z[0] = i, z[a.H] = f, z[2 * a.H] = g, z[3 * a.H] = o;
    }

    // dc[t] = k[t+1] · f[t+1] ⊙ dc[t+1] + o (1 - tanh²c[t]) ⊙ dh[t]
    // dzi, dzf, dzg = i (1-i) g ⊙ dc, f (1-f) k · c[t-1] ⊙ dc, (1-g²) i ⊙ dc;  dzo = o (1-o) tanh c[t] ⊙ dh
    __device__ static void backward(const Layer& a, const Place& p, REAL dh, REAL carry) {
        REAL* z = a.z + p.gate;
        const REAL i = z[0], f = z[a.H], g = z[2 * a.H], o = z[3 * a.H];
        const REAL squashed = tanh(a.memory[p.after]), dc = carry + o * (1 - squashed * squashed) * dh;
        a.carry[p.own] = p.kept * f * dc;
        z[0] = i * (1 - i) * g * dc;
        z[a.H] = f * (1 - f) * p.kept * a.memory[p.before] * dc;
        z[2 * a.H] = (1 - g * g) * i * dc;
        z[3 * a.H] = o * (1 - o) * squashed * dh;
    }
};

RECURRENCE(Lstm)
