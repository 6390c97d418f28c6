"use strict";
// The network, in plain JavaScript: no DOM, no library. Letters: V characters, H hidden units, L layers, G gates.
// The weights have PyTorch's names, shapes (out, in) and order of gates. The id V is the start symbol.

const Network = (() => {
  const STATES = { rnn: ["hidden"], gru: ["hidden"], lstm: ["hidden", "cell_state"] };
  const EVERY = 64; // characters between two states that a Document keeps

  // ---- weights

  /** Return the network that `data` describes: see playground.py for its fields. */
  function load(data) {
    const numbers = data.half ? halves(bytesOf(data.weights)) : new Float32Array(bytesOf(data.weights).buffer);
    const tensors = {};
    let start = 0;
    for (const [name, shape] of data.tensors) {
      const size = shape.reduce((a, b) => a * b, 1);
      tensors[name] = numbers.subarray(start, start + size);
      start += size;
    }
    const characters = Array.from(data.characters);
    return {
      cell: data.cell, V: characters.length, H: data.hidden_size, L: data.num_layers, tensors, characters,
      ids: new Map(characters.map((c, i) => [c, i])), counts: data.counts, startSymbol: data.start_symbol,
      separator: data.start_symbol ? data.separator : [],
      neverFirst: data.never_first,
    };
  }

  function bytesOf(base64) {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  /** Return the numbers of an array of float16. */
  function halves(bytes) {
    const codes = new Uint16Array(bytes.buffer), table = new Float32Array(65536);
    for (let code = 0; code < 65536; code++) {
      const sign = code & 0x8000 ? -1 : 1, exponent = (code >> 10) & 31, fraction = code & 1023;
      table[code] = sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
    }
    return Float32Array.from(codes, (code) => table[code]);
  }

  // ---- one step

  function zeroState(net) {
    const layers = () => Array.from({ length: net.L }, () => new Float64Array(net.H));
    return Object.fromEntries(STATES[net.cell].map((name) => [name, layers()]));
  }

  function copied(state) {
    return Object.fromEntries(Object.entries(state).map(([name, layers]) => [name, layers.map((x) => x.slice())]));
  }

  function sigmoid(x) {
    return (1 + Math.tanh(x / 2)) / 2;
  }

  /** Return W x + b for W (rows, x.length). */
  function affine(W, x, b) {
    const rows = b.length, cols = x.length, end = cols - (cols % 4), out = new Float64Array(rows);
    for (let r = 0, p = 0; r < rows; r++, p += cols) {
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let i = 0; i < end; i += 4) {
        s0 += W[p + i] * x[i];
        s1 += W[p + i + 1] * x[i + 1];
        s2 += W[p + i + 2] * x[i + 2];
        s3 += W[p + i + 3] * x[i + 3];
      }
      for (let i = end; i < cols; i++) s0 += W[p + i] * x[i];
      out[r] = b[r] + (s0 + s1 + (s2 + s3));
    }
    return out;
  }

  /**
   * Return what the character `id` adds to the gates of the first layer: with an embedding the product of its row,
   * otherwise a column of the weights; plus the bias, which is all for the start symbol.
   */
  function inputProduct(net, id) {
    const W = net.tensors["recurrent.weight_ih_l0"], b = net.tensors["recurrent.bias_ih_l0"];
    const table = net.tensors["embedding.weight"];
    if (table && id < net.V) {
      const E = table.length / net.V;
      return affine(W, table.subarray(id * E, (id + 1) * E), b);
    }
    const out = Float64Array.from(b);
    if (id < net.V) for (let r = 0; r < out.length; r++) out[r] += W[r * net.V + id];
    return out;
  }

  /** Return the logits (V,) for a hidden state of the last layer. */
  function outputProduct(net, hidden) {
    const { "projection.weight": projection, "output.weight": W, "output.bias": b } = net.tensors;
    if (projection) hidden = affine(projection, hidden, new Float64Array(projection.length / net.H));
    return affine(W || net.tensors["embedding.weight"], hidden, b); // tied weights are one tensor
  }

  /** Read the character `id`: change `state`, and return the logits (V,) of the next character. */
  function step(net, id, state) {
    let a = inputProduct(net, id);
    for (let layer = 0; layer < net.L; layer++) {
      const h = state.hidden[layer], weight = (name) => net.tensors[`recurrent.${name}_l${layer}`];
      if (layer) a = affine(weight("weight_ih"), state.hidden[layer - 1], weight("bias_ih"));
      const b = affine(weight("weight_hh"), h, weight("bias_hh"));
      CELLS[net.cell](a, b, h, state.cell_state && state.cell_state[layer], net.H);
    }
    return outputProduct(net, state.hidden[net.L - 1]);
  }

  /** Cell -> the function that updates h (and c) from the products a, of the input, and b, of the hidden state. */
  const CELLS = {
    rnn(a, b, h, c, H) {
      for (let i = 0; i < H; i++) h[i] = Math.tanh(a[i] + b[i]);
    },
    gru(a, b, h, c, H) {
      for (let i = 0; i < H; i++) {
        const r = sigmoid(a[i] + b[i]), z = sigmoid(a[H + i] + b[H + i]);
        const n = Math.tanh(a[2 * H + i] + r * b[2 * H + i]);
        h[i] = (1 - z) * n + z * h[i];
      }
    },
    lstm(a, b, h, c, H) {
      for (let i = 0; i < H; i++) {
        const input = sigmoid(a[i] + b[i]), forget = sigmoid(a[H + i] + b[H + i]);
        const g = Math.tanh(a[2 * H + i] + b[2 * H + i]), output = sigmoid(a[3 * H + i] + b[3 * H + i]);
        c[i] = forget * c[i] + input * g;
        h[i] = output * Math.tanh(c[i]);
      }
    },
  };

  // ---- a text and what the network makes of it

  /**
   * Return what the network reads for each of `ids`: the id itself, V where a document ended and another begins, -1 for
   * a character that it does not know. Several separators in a row end one document; those at the start end none.
   */
  function inputsOf(net, ids) {
    const { separator: { length: n }, separator, V } = net, inputs = ids.slice();
    const places = [...ids.keys()].filter((i) => ids[i] >= 0), known = places.map((i) => ids[i]);
    const isAt = (i) => i + n <= known.length && separator.every((id, k) => id === known[i + k]);
    let start = 0, hasText = false, ended = false; // `start` is behind the last separator
    for (let i = 0; n && i <= known.length; i++) {
      if (i < known.length && !isAt(i)) continue;
      if (i > start) {
        if (ended) inputs[places[start - 1]] = V;
        hasText = true;
      }
      if (i === known.length) break;
      ended = hasText;
      start = i + n;
      i = start - 1;
    }
    if (n && known.length >= n && isAt(known.length - n)) inputs[places.at(-1)] = V;
    return inputs;
  }

  /**
   * A text that the network has read. Each document in it begins with the start symbol, from a zero state.
   *
   * ids: the characters; -1 for one that the network does not know.
   * inputs: what it read for them, see `inputsOf`.
   * nats: the surprise of each character; null for one that is not predicted.
   * logits: of the next character; null at the start of a text without a start symbol.
   */
  class Document {
    constructor(net) {
      this.net = net;
      this.ids = [];
      this.inputs = [];
      this.nats = [];
      this.kept = [];
      this.state = zeroState(net);
      this.recent = []; // the last characters, which may be a separator
      this.logits = net.startSymbol ? step(net, net.V, this.state) : null;
      this.keep();
    }

    get length() {
      return this.ids.length;
    }

    keep() {
      const { state, logits, recent } = this;
      this.kept.push({ state: copied(state), logits, recent: recent.slice() });
    }

    /** Add a character. Without `input` it is one that the network wrote: a separator then ends the document. */
    append(id, input) {
      const { net } = this, { separator } = net;
      this.nats.push(id < 0 || this.logits === null ? null : surprise(this.logits, id));
      if (id >= 0) {
        this.recent.push(input ?? id);
        if (this.recent.length > separator.length) this.recent.shift();
        if (separator.length && separator.length === this.recent.length && separator.every((c, i) => c === this.recent[i])) {
          this.recent = []; // separators do not overlap
          input = input ?? net.V;
        }
        if (input === net.V) this.state = zeroState(net);
        this.logits = step(net, input ?? id, this.state);
      }
      this.ids.push(id);
      this.inputs.push(input ?? id);
      if (this.ids.length % EVERY === 0) this.keep();
    }

    /** Remove all characters after the first `n`. */
    truncate(n) {
      if (n >= this.ids.length) return;
      const from = Math.floor(n / EVERY) * EVERY, ids = this.ids.slice(0, n), inputs = this.inputs.slice(0, n);
      this.kept.length = from / EVERY + 1;
      for (const list of [this.ids, this.inputs, this.nats]) list.length = from;
      this.restore(this.kept.at(-1));
      for (let i = from; i < n; i++) this.append(ids[i], inputs[i]);
    }

    restore({ state, logits, recent }) {
      Object.assign(this, { state: copied(state), logits, recent: recent.slice() });
    }

    /** Return how many of the first characters are the same, and read as the same, as in the text `ids`. */
    common(ids, inputs = inputsOf(this.net, ids)) {
      let same = 0;
      while (same < ids.length && ids[same] === this.ids[same] && inputs[same] === this.inputs[same]) same++;
      return same;
    }

    /** Make this the text with these ids. What it has in common with the text before is not read again. */
    set(ids) {
      const inputs = inputsOf(this.net, ids), same = this.common(ids, inputs);
      this.truncate(same);
      for (let i = same; i < ids.length; i++) this.append(ids[i], inputs[i]);
    }

    /** Return the text as it was after its first `n` characters. */
    at(n) {
      if (n >= this.ids.length) return this;
      const from = Math.floor(n / EVERY) * EVERY, before = Object.create(Document.prototype);
      const [ids, inputs, nats] = [this.ids, this.inputs, this.nats].map((list) => list.slice(0, from));
      Object.assign(before, { net: this.net, ids, inputs, nats, kept: [] });
      before.restore(this.kept[from / EVERY]);
      for (let i = from; i < n; i++) before.append(this.ids[i], this.inputs[i]);
      return before;
    }

    /** Return the weights (V,) of the next character under `settings`: see `weights`. */
    next(settings) {
      const { net, logits } = this, first = !this.ids.some((id) => id >= 0);
      if (logits === null) return weights(firstLogits(net), PLAIN);
      if (!first || !net.neverFirst.length) return weights(logits, settings);
      const allowed = logits.slice();
      for (const id of net.neverFirst) allowed[id] = -Infinity;
      return weights(allowed, settings);
    }
  }

  /** Return the logarithms of the frequencies of the first characters of a sample. */
  function firstLogits(net) {
    const logits = Float64Array.from(net.counts, (n) => Math.log(n));
    for (const id of net.neverFirst) logits[id] = -Infinity;
    return logits;
  }

  /** Return -log p of a character in nats. */
  function surprise(logits, id) {
    let top = -Infinity, sum = 0;
    for (const x of logits) if (x > top) top = x;
    for (const x of logits) sum += Math.exp(x - top);
    return Math.max(0, Math.log(sum) + top - logits[id]);
  }

  // ---- from logits to characters, as in charrnn/sampling/distribution.py

  const PLAIN = { temperature: 1, topK: 0, topP: 1, minP: 0 };

  /** Return weights (V,), the largest 1, after temperature, top-k, top-p and min-p. */
  function weights(logits, { temperature, topK, topP, minP }) {
    const V = logits.length, result = new Float64Array(V);
    let best = 0;
    for (let i = 1; i < V; i++) if (logits[i] > logits[best] || Number.isNaN(logits[best])) best = i;
    if (temperature === 0) {
      result[best] = 1;
      return result;
    }
    for (let i = 0; i < V; i++) result[i] = Math.exp((logits[i] - logits[best]) / temperature) || 0;
    result[best] = 1;
    if ((topK > 0 && topK < V) || topP < 1) {
      const order = Array.from(logits.keys()).sort((i, j) => logits[j] - logits[i] || i - j);
      for (let rank = topK > 0 ? topK : V; rank < V; rank++) result[order[rank]] = 0;
      if (topP < 1) {
        const total = result.reduce((a, b) => a + b, 0);
        let above = 0;
        for (const i of order) {
          const weight = result[i];
          if (above >= topP * total) result[i] = 0;
          above += weight;
        }
      }
    }
    for (let i = 0; i < V; i++) if (result[i] < minP) result[i] = 0;
    return result;
  }

  /** Return the index that the uniform number `u` in [0, 1) chooses. */
  function choose(shares, u) {
    let total = 0, sum = 0, last = 0;
    for (const w of shares) total += w;
    for (let i = 0; i < shares.length; i++) {
      if (shares[i] === 0) continue;
      sum += shares[i];
      last = i;
      if (sum > u * total) return i;
    }
    return last;
  }

  /** Return a function that returns uniform numbers in [0, 1): the generator sfc32 with this seed. */
  function random(seed) {
    let a = seed >>> 0, b = Math.floor(seed / 2 ** 32) >>> 0, c = 0x9e3779b9, d = 1;
    function bits() {
      const t = (a + b + d) | 0;
      d = (d + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = ((c << 21) | (c >>> 11)) + t | 0;
      return t >>> 0;
    }
    for (let i = 0; i < 15; i++) bits();
    return () => ((bits() >>> 5) * 2 ** 26 + (bits() >>> 6)) / 2 ** 53;
  }

  /**
   * Writes at the end of a Document.
   *
   * settings: temperature, topK, topP, minP, seed, length, stops (strings before which the text ends).
   */
  class Writer {
    constructor(document, settings) {
      this.document = document;
      this.settings = settings;
      this.random = random(settings.seed);
      this.start = document.length;
      this.written = "";
      this.reason = "";
    }

    /** Add one character. Return whether there are more. `certain` characters of the document then remain. */
    next() {
      const { document, settings } = this, { characters } = document.net;
      if (this.reason === "" && document.length - this.start >= settings.length) this.reason = "length";
      if (this.reason) return false;
      const u = this.random(), id = choose(document.next(settings), u);
      document.append(id);
      this.written += characters[id];
      const stop = settings.stops.find((s) => this.written.endsWith(s));
      if (stop !== undefined) {
        document.truncate(document.length - Array.from(stop).length);
        this.written = this.written.slice(0, -stop.length);
        this.reason = "stop";
      } else if (document.length - this.start >= settings.length) this.reason = "length";
      return this.reason === "";
    }

    /** The number of characters of the document that will not be removed: others may begin a stop string. */
    get certain() {
      if (this.reason) return this.document.length;
      let held = 0;
      for (const stop of this.settings.stops) {
        for (let n = Math.min(stop.length - 1, this.written.length); n > held; n--) {
          if (stop.startsWith(this.written.slice(-n))) held = n;
        }
      }
      return this.document.length - Array.from(this.written.slice(this.written.length - held)).length;
    }
  }

  // ---- text to ids

  /** Return the ids of a text: -1 for a character that the network does not know. */
  function encode(net, text) {
    return Array.from(text, (c) => net.ids.get(c) ?? -1);
  }

  function unknown(net, text) {
    return Array.from(text).filter((c) => !net.ids.has(c));
  }

  /** Return `text` in the Unicode form, NFC or NFD, in which it has fewer unknown characters; else unchanged. */
  function normalized(net, text) {
    let best = text, fewest = unknown(net, text).length;
    for (const form of fewest ? ["NFC", "NFD"] : []) {
      const other = text.normalize(form), count = unknown(net, other).length;
      if (count < fewest) [best, fewest] = [other, count];
    }
    return best;
  }

  /** Return the stop strings of a sample: those of the user, or the separator if a document begins. */
  function stopStrings(net, text, stops) {
    const wanted = stops.filter((s) => s !== "").map((s) => normalized(net, s));
    wanted.sort((a, b) => b.length - a.length); // of two that end together, the longer one counts
    const separator = net.separator.map((id) => net.characters[id]).join("");
    return wanted.length || text !== "" || !separator ? wanted : [separator];
  }

  /** Return the text that continues `prompt`, as `charrnn sample` does. */
  function sample(net, prompt, settings) {
    const document = new Document(net), text = normalized(net, prompt);
    document.set(encode(net, text));
    const writer = new Writer(document, { ...settings, stops: stopStrings(net, text, settings.stops || []) });
    while (writer.next());
    return writer.written;
  }

  return {
    load, Document, Writer, inputsOf, weights, choose, random, surprise, encode, unknown, normalized,
    stopStrings, sample, PLAIN,
  };
})();

if (typeof module !== "undefined") module.exports = Network;
