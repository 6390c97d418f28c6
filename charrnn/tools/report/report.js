"use strict";
// The panels of the report, in order. Each is a function from a run to the children of its section.

const Report = (() => {
  const { el, svg, number, short, count, percent, duration, harmless, visible, spoken } = Page;
  const STATES = { hidden: "hidden state", cell_state: "cell state" };

  function nothing(text) {
    return el("p", { class: "soft" }, text);
  }

  function sentence(text) {
    return text && !/[.!?]$/.test(text) ? text + "." : text;
  }

  // ---- 1. verdict

  function verdict(run) {
    const s = run.summary;
    const facts = [
      ["Network", s.network], ["Parameters", count(s.parameters)], ["Characters it knows", count(s.vocabulary)],
      ["Training text", `${short(s.characters)} characters`], ["Time", duration(s.seconds)],
      ["Speed", s.chars_per_second === null ? "–" : `${short(s.chars_per_second)} characters/s`],
      ["Steps", s.steps < s.planned ? `${count(s.steps)} of ${count(s.planned)}` : count(s.steps)],
      ["Best at step", count(s.best_step)], ["Sweeps over the text", s.sweeps === null ? "–" : number(s.sweeps, 1)],
    ];
    if (s.test_loss !== null) facts.splice(4, 0, ["Loss on the test text", number(s.test_loss)]);
    if (s.started_from) facts.push(["Began with the weights of", harmless(s.started_from)]);
    const worst = Math.max(...s.baselines.map((b) => b.loss));
    return [
      el("div", { class: "two" },
        el("div", {},
          s.loss === null ? null : el("div", { class: "big" }, number(s.loss), el("small", {}, "nats per character")),
          s.loss === null ? null : el("div", { class: "units" },
            el("span", {}, `${number(s.bits_per_char)} bits per character`),
            s.bits_per_byte === null ? null : el("span", {}, `${number(s.bits_per_byte)} bits per byte`),
            s.perplexity === null ? null : el("span", {}, `perplexity ${number(s.perplexity, 2)}`)),
          s.sentences.map((line) => el("p", { class: "verdict" }, harmless(line))),
          el("p", { class: "flag" }, el("i", { class: s.overfitting.kind }), el("span", {}, s.overfitting.text)),
          el("p", { class: "flag" }, el("i", { class: s.guard.startsWith("No") ? "good" : "bad" }), el("span", {}, s.guard))),
        el("div", {},
          el("h3", {}, "Where it stands"),
          el("div", { class: "ladder" }, s.baselines.map((b) => {
            const own = b.kind === "network" ? "own" : "";
            return [
              el("span", { class: `name ${own}` }, b.name),
              el("span", { class: `bar ${own}`, "aria-hidden": "true" }, el("i", { style: { "--v": (b.loss / worst).toFixed(4) } })),
              el("span", { class: own }, number(b.loss)),
            ];
          })),
          el("p", { class: "soft small", style: { "margin-top": "0.9rem" } },
            "Nats per character on the held-out text; shorter is better. An n-gram only counts which character follows the last n − 1."))),
      el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    ];
  }

  function overview(runs, sameText) {
    const rows = runs.map((run) => {
      const s = run.summary;
      return [
        el("span", {}, el("i", { class: `dot c${run.color}` }), harmless(run.name)), s.network, count(s.parameters),
        s.loss === null ? "–" : number(s.loss) + (run.best ? " ★" : ""), number(s.bits_per_char), count(s.steps), duration(s.seconds),
      ];
    });
    const columns = [["Run", ""], ["Network", ""], ["Parameters", "number"], ["Nats/char", "number"], ["Bits/char", "number"], ["Steps", "number"], ["Time", "number"]];
    const caption = sameText ? "The best validation loss of each run; ★ is the best." : "The best validation loss of each run; ★ is the best on its text. Losses on different texts do not compare.";
    return Page.table(caption, columns, rows);
  }

  // ---- 2. curves

  const AXES = { step: "steps", minutes: "minutes", chars: "characters" };

  function zip(xs, ys) {
    return xs.map((x, i) => [x, ys[i]]).filter(([x, y]) => x !== null && y !== null && x !== undefined && y !== undefined);
  }

  function curves(runs) {
    const one = runs.length === 1;
    let axis = "step";
    function losses() {
      return runs.flatMap((run) => {
        const { train, eval: evals, dropout } = run.curves;
        const single = zip(train[axis], train.loss), mean = zip(train[axis], train.smooth_loss);
        const without = zip(evals[axis], evals.train_loss), validation = zip(evals[axis], evals.val_loss);
        if (!one) {
          return [
            { name: `${harmless(run.name)}, training`, color: run.color, dashed: true, points: without.length ? without : mean },
            { name: `${harmless(run.name)}, validation`, color: run.color, points: validation },
          ];
        }
        return [
          { name: "training, single steps", color: 2, faint: true, points: single },
          { name: dropout ? "training, with dropout" : "training", color: 2, points: mean },
          { name: "training, without dropout", color: 3, dashed: true, points: without },
          { name: "validation", color: 1, points: validation },
        ];
      }).filter((s) => s.points.length);
    }
    const marks = runs[0].sameText ? runs[0].curves.baselines.map((b) => ({ y: b.loss, name: b.name })) : [];
    const low = Math.min(...runs.flatMap((run) => run.curves.eval.val_loss.filter((v) => v !== null)));
    const unigram = marks.length ? marks[0].y * 1.06 : Infinity; // what is above it are the first steps of every run
    const high = low < unigram ? unigram : Infinity;
    const shape = () => ({ name: AXES[axis], read: axis === "minutes" ? (v) => number(v, 2) : (v) => count(v) });
    const read = (v) => number(v, 3);
    const main = Page.lineChart({ legend: one, label: "Losses", series: losses(), marks, x: shape(), y: { name: "nats per character", format: (v) => number(v, 1), read, high }, height: 400 });
    const small = [["learning_rate", "Learning rate", false], ["grad_norm", "Gradient norm", true], ["chars_per_second", "Characters per second", false]].map(([key, name, log]) => {
      const series = () => runs.map((run) => ({ name: one ? name.toLowerCase() : harmless(run.name), color: one ? 1 : run.color, points: zip(run.curves.train[axis], run.curves.train[key]) }));
      const y = { log, ...(log ? {} : { low: 0 }) };
      const chart = Page.lineChart({ label: name, series: series(), x: shape(), y, height: 170, legend: false });
      return { node: el("div", {}, el("h3", {}, name), chart.node), update: () => chart.update({ series: series(), x: shape() }) };
    });
    const buttons = Object.entries(AXES).map(([key, name]) => el("button", {
      type: "button", "aria-pressed": String(key === axis),
      on: { click: (event) => {
        axis = key;
        buttons.forEach((b) => b.setAttribute("aria-pressed", String(b === event.currentTarget)));
        main.update({ series: losses(), x: shape() });
        small.forEach((s) => s.update());
      } },
    }, name));
    const skipped = runs.reduce((sum, run) => sum + run.curves.guard.length, 0);
    return [
      el("div", { class: "row", style: { "margin-bottom": "0.75rem" } },
        el("span", { class: "soft small" }, "Axis"), el("div", { class: "segments", role: "group", "aria-label": "Axis of the curves" }, buttons)),
      one ? null : el("p", { class: "small soft", style: { margin: "0" } }, "Solid: validation. Dashed: training, without dropout where that was measured."),
      one ? null : Page.legend(runs.map((run) => ({ name: harmless(run.name), color: run.color }))),
      main.node,
      el("div", { class: "three" }, small.map((s) => s.node)),
      skipped ? el("p", { class: "soft small" }, `Skipped steps: ${runs.flatMap((run) => run.curves.guard).slice(0, 20).map((n) => count(n)).join(", ")}`) : null,
      el("details", {}, el("summary", {}, "The same numbers as a table"), runs.map(numbers)),
    ];
  }

  function numbers(run) {
    const { train, eval: evals } = run.curves;
    const rows = evals.step.map((step, i) => {
      const j = train.step.reduce((best, s, k) => (s <= step ? k : best), 0);
      return [count(step), number(evals.minutes[i], 2), number(evals.val_loss[i]), number(evals.train_loss[i]), number(train.smooth_loss[j]), short(train.learning_rate[j]), short(train.grad_norm[j]), short(train.chars_per_second[j])];
    });
    const names = ["Step", "Minutes", "Validation", "Training, no dropout", "Training", "Learning rate", "Gradient norm", "Characters/s"];
    return Page.table(`Evaluations of ${harmless(run.name)}`, names.map((n) => [n, "number"]), rows);
  }

  // ---- 3. samples

  /** Return text nodes and one <mark> for the copied passage. Positions count code points. */
  function marked(text, copied) {
    const characters = Array.from(text);
    if (!copied || copied.length < 10) return Page.framed(text);
    const parts = [[0, copied.first], [copied.first, copied.first + copied.length], [copied.first + copied.length, characters.length]];
    return parts.map(([a, b], i) => {
      const part = Page.framed(characters.slice(a, b).join(""));
      return i === 1 ? [el("mark", {}, part)] : part;
    }).flat();
  }

  function samples(run) {
    const list = run.samples;
    if (!list.length) return [nothing("This run kept no samples.")];
    const text = el("div", { class: "sample", dir: "auto", tabindex: "0", role: "region", "aria-label": "Sample" });
    const facts = el("dl", { class: "facts" });
    const output = el("output", { "aria-live": "polite" });
    const input = el("input", { type: "range", min: "0", max: String(list.length - 1), value: String(list.length - 1), step: "1", "aria-label": "Sample by training step", on: { input: show } });
    function show() {
      const { step, text: sample, copied } = list[Number(input.value)];
      output.textContent = `Step ${count(step)}`;
      input.setAttribute("aria-valuetext", `step ${count(step)}`);
      text.replaceChildren(...marked(sample, copied));
      const rows = copied ? [
        ["Longest copied passage", copied.length ? `${count(copied.length)} characters` : "under 5 characters"],
        ["Windows of 20 characters that are copied", copied.share === null ? "the sample is shorter" : percent(copied.share)],
      ] : [["Copied passages", "unknown: the training text cannot be read"]];
      facts.replaceChildren(...rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
    }
    show();
    return [
      el("div", { class: "slider" }, output, list.length > 1 ? input : el("span"), el("span", { class: "soft small" }, `${list.length} ${list.length === 1 ? "sample" : "samples"}`)),
      el("div", { class: "two side" },
        text,
        el("div", {}, facts,
          el("p", { class: "small soft", style: { "margin-top": "1.1rem" } }, el("span", { class: "key" }), "The longest passage that stands word for word in the training text, from 10 characters. A network that copies has a long one."))),
    ];
  }

  // ---- 4. surprise

  function characterNames(vocabulary, ids) {
    return ids.map((id) => vocabulary[id]);
  }

  function likeliest(data, i) {
    const size = data.top.length / data.ids.length, rows = [];
    for (let n = i * size; n < (i + 1) * size; n++) {
      const p = data.probabilities[n];
      if (p !== null) rows.push([visible(data.characters[data.top[n]]), p.toFixed(4), percent(p)]);
    }
    return rows;
  }

  function surprise(run) {
    const data = run.surprise;
    if (!data) return [nothing(sentence(run.missing) || "There is no text to show.")];
    const characters = characterNames(data.characters, data.ids);
    const view = Page.passage(characters, {
      label: "A passage colored by surprise; arrow keys move through it",
      describe: (i) => {
        const nats = data.nats[i];
        const came = el("div", {}, el("strong", { class: "mono" }, visible(characters[i])), spoken(characters[i]) === visible(characters[i]) ? " " : ` ${spoken(characters[i])} `,
          nats === null ? "is the first character" : `came with ${percent(Math.exp(-nats))}: ${number(nats, 2)} nats`);
        return [came, nats === null ? [] : el("div", { style: { "margin-top": "0.4rem" } }, Page.bars(likeliest(data, i)))];
      },
    });
    view.paint((i) => (data.nats[i] === null ? null : { v: Page.surprise(data.nats[i]) }));
    const known = data.nats.filter((v) => v !== null), mean = known.reduce((a, b) => a + b, 0) / known.length;
    return [
      run.missing ? nothing(sentence(run.missing)) : null,
      el("div", { class: "two side" },
        el("div", {},
          el("div", { class: "scale" }, el("span", {}, "expected"), el("span", { class: "ramp", "aria-hidden": "true" }), el("span", {}, "surprising (6 nats and more)")),
          el("div", { class: "tall" }, view.node)),
        el("div", {},
          el("dl", { class: "facts", style: { "margin-top": "0" } },
            el("div", {}, el("dt", {}, "In this passage"), el("dd", {}, `${number(mean)} nats per character`)),
            el("div", {}, el("dt", {}, "Under a tenth of a nat"), el("dd", {}, percent(known.filter((v) => v < 0.1).length / known.length)))),
          el("h3", { style: { "margin-top": "1.5rem" } }, "The most surprising characters"),
          el("ol", { class: "places" }, surprising(data, 8).map((i) => el("li", {},
            el("button", { type: "button", on: { click: () => view.move(i) } },
              el("span", { class: "context" }, before(characters, i), el("b", {}, visible(characters[i]))),
              el("span", { class: "soft" }, ` ${number(data.nats[i], 1)} nats`))))),
          el("p", { class: "small soft" }, "Hover over a character, touch it, or move with the arrow keys: the five likeliest characters appear, with their probabilities."))),
    ];
  }

  /** Return the places of the most surprising characters, the most surprising first. */
  function surprising(data, most) {
    const places = data.nats.map((nats, i) => [nats, i]).filter(([nats]) => nats !== null);
    return places.sort((a, b) => b[0] - a[0] || a[1] - b[1]).slice(0, most).map(([, i]) => i);
  }

  function before(characters, i) {
    return characters.slice(Math.max(0, i - 12), i).map((c) => (c === "\n" || c === "\t" ? visible(c) : harmless(c))).join("");
  }

  // ---- 5. neurons

  function unitName(data, unit) {
    const layer = Math.floor(unit / data.hidden_size) + 1;
    return (data.layers > 1 ? `layer ${layer}, ` : "") + `unit ${(unit % data.hidden_size) + 1}`;
  }

  function signed(r) {
    return r === null ? "–" : (r < 0 ? "−" : "+") + Math.abs(r).toFixed(2);
  }

  function clearest(data, row) {
    let best = -1;
    data.correlations[data.state][row].forEach((r, k) => {
      if (r !== null && (best < 0 || Math.abs(r) > Math.abs(data.correlations[data.state][row][best]))) best = k;
    });
    return best;
  }

  function neurons(run) {
    const data = run.neurons, text = run.surprise;
    if (!data || !text) return [nothing(sentence(run.missing) || "There is no text to show.")];
    const values = Page.int8(data.values), length = data.length;
    const characters = characterNames(text.characters, text.ids.slice(0, length));
    const rowOf = new Map(data.units.map((unit, row) => [unit, row]));
    const start = data.named.length && rowOf.has(data.named[0].units[0][0]) ? rowOf.get(data.named[0].units[0][0]) : 0;
    let chosen = start;
    const value = (i) => values[chosen * length + i] / 127;

    const view = Page.passage(characters, {
      label: "A passage colored by the chosen unit; arrow keys move through it",
      describe: (i) => [el("strong", { class: "mono" }, visible(characters[i])), ` ${STATES[data.state]} ${signed(value(i) * data.largest[chosen])}`],
    });
    const options = data.units.map((unit, row) => {
      const k = clearest(data, row);
      const follows = k < 0 ? "" : `: ${data.properties[k]} ${signed(data.correlations[data.state][row][k])}`;
      return el("option", { value: String(row) }, unitName(data, unit) + follows);
    });
    const select = el("select", { "aria-label": "Unit", on: { change: () => choose(Number(select.value)) } }, options);
    const previous = el("button", { type: "button", "aria-label": "Previous unit", on: { click: () => choose(chosen - 1) } }, "←");
    const next = el("button", { type: "button", "aria-label": "Next unit", on: { click: () => choose(chosen + 1) } }, "→");
    const detail = el("div", {});
    const chips = [];
    const named = el("ul", { class: "named" }, data.named.map(({ property, units }) => el("li", {},
      el("span", { class: "small soft" }, property),
      el("div", { class: "row" }, units.filter(([unit]) => rowOf.has(unit)).map(([unit, r]) => {
        const chip = el("button", { type: "button", "aria-pressed": "false", on: { click: () => choose(rowOf.get(unit)) } }, `${unitName(data, unit)}  ${signed(r)}`);
        chips.push([chip, rowOf.get(unit)]);
        return chip;
      })))));
    const { node: map, mark } = unitMap(data, choose, () => chosen);

    function choose(row) {
      chosen = Math.max(0, Math.min(data.units.length - 1, row));
      select.value = String(chosen);
      previous.disabled = chosen === 0;
      next.disabled = chosen === data.units.length - 1;
      chips.forEach(([chip, at]) => chip.setAttribute("aria-pressed", String(at === chosen)));
      mark(chosen);
      view.paint((i) => {
        const v = value(i);
        return v === 0 ? null : { v: Math.abs(v), tint: v > 0 ? "var(--hot)" : "var(--cold)" };
      });
      detail.replaceChildren(...unitDetail(data, text.characters, chosen));
    }
    choose(start);
    return [
      el("div", { class: "two side" },
        el("div", {},
          el("div", { class: "choose" }, previous, next, select),
          el("div", { class: "scale" }, el("span", {}, "negative"), el("span", { class: "ramp two-sided", "aria-hidden": "true" }), el("span", {}, `positive ${STATES[data.state]}`)),
          el("div", { class: "tall" }, view.node)),
        el("div", {},
          detail,
          el("h3", {}, "The clearest units"),
          data.named.length ? named : nothing("No unit follows one of the properties clearly (correlation 0.3)."),
          el("h3", {}, "All units"),
          el("p", { class: "small soft" }, "The stronger the color, the more clearly a unit follows one of the properties. Arrow keys choose a unit."),
          map)),
      el("p", { class: "small soft", style: { "margin-top": "1rem" } },
        `Correlations over ${count(data.count)} characters.` + (data.left_out ? ` ${count(data.left_out)} units that follow no property are left out, to keep this page small.` : "")),
    ];
  }

  function unitDetail(data, vocabulary, row) {
    const unit = data.units[row];
    const names = Object.keys(data.correlations);
    const present = data.properties.map((_, k) => data.correlations[data.state].some((r) => r[k] !== null));
    const absent = data.properties.filter((_, k) => !present[k]);
    return [
      el("h3", {}, capitalized(unitName(data, unit))),
      el("div", { class: "correlations" }, data.properties.map((property, k) => {
        if (!present[k]) return [];
        const r = data.correlations[data.state][row][k];
        const others = names.filter((n) => n !== data.state).map((n) => `${STATES[n]} ${signed(data.correlations[n][row][k])}`).join(", ");
        return [
          el("span", {}, property),
          el("span", { class: "both", "aria-hidden": "true" }, r === null ? null : el("i", { class: r < 0 ? "minus" : null, style: { "--v": Math.abs(r).toFixed(3) } })),
          el("span", { title: others || null }, signed(r)),
        ];
      })),
      absent.length ? el("p", { class: "small soft" }, `The same everywhere in this text: ${absent.join(", ")}.`) : null,
      el("h3", {}, "Excited most by"),
      el("ol", { class: "excite", style: { "margin-bottom": "1.5rem" } }, data.exciting[row].map((id, n) => el("li", {},
        el("b", {}, visible(vocabulary[id])), el("span", { class: "small soft" }, signed(data.means[row][n]))))),
    ].filter(Boolean);
  }

  /** Return a picture of all units, which is one stop of the Tab key; arrow keys choose a unit. */
  function unitMap(data, choose, chosen) {
    const columns = Math.min(data.units.length, data.units.length > 300 ? 32 : 16), cell = 10;
    const rows = Math.ceil(data.units.length / columns);
    const strength = (row) => {
      const k = clearest(data, row);
      return k < 0 ? 0 : Math.abs(data.correlations[data.state][row][k]);
    };
    const strongest = Math.max(...data.units.map((_, row) => strength(row)), 0.05);
    const frame = svg("rect", { class: "chosen", width: cell, height: cell, "stroke-width": 1.5, rx: 1.5 });
    const cells = data.units.map((unit, row) => {
      const r = strength(row) / strongest;
      const x = (row % columns) * cell + 1, y = Math.floor(row / columns) * cell + 1;
      return svg("rect", { x, y, width: cell - 2, height: cell - 2, rx: 1.5, class: r < 0.05 ? "empty" : null, "fill-opacity": r < 0.05 ? null : (0.08 + 0.92 * r).toFixed(2) });
    });
    const node = svg("svg", {
      class: "map", viewBox: `-1 -1 ${columns * cell + 2} ${rows * cell + 2}`, tabindex: "0", role: "slider", "aria-label": "Unit",
      "aria-valuemin": "1", "aria-valuemax": String(data.units.length), "aria-valuenow": "1", style: { "max-width": `${columns * 18}px` },
    }, cells, frame);
    node.addEventListener("click", (event) => {
      const box = node.getBoundingClientRect(), size = box.width / (columns + 0.2);
      const row = Math.floor((event.clientY - box.top) / size) * columns + Math.floor((event.clientX - box.left) / size);
      if (row < data.units.length) choose(row);
    });
    node.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -Infinity, End: Infinity };
      if (!(event.key in steps)) return;
      event.preventDefault();
      choose(chosen() + steps[event.key]);
    });
    function mark(row) {
      frame.setAttribute("x", String((row % columns) * cell));
      frame.setAttribute("y", String(Math.floor(row / columns) * cell));
      const k = clearest(data, row);
      node.setAttribute("aria-valuenow", String(row + 1));
      node.setAttribute("aria-valuetext", unitName(data, data.units[row]) + (k < 0 ? "" : `, ${data.properties[k]} ${signed(data.correlations[data.state][row][k])}`));
    }
    return { node, mark };
  }

  // ---- 6. gradient through time

  /** Return after how many steps a list of norms is below a hundredth of the first; null if it stays above. */
  function reach(norms) {
    if (!norms || norms[0] === null) return null;
    const k = norms.findIndex((v) => v === null || v < norms[0] / 100);
    return k < 0 ? null : k;
  }

  function gradient(runs) {
    const shown = runs.filter((run) => run.gradient && (run.gradient.trained || run.gradient.first));
    if (!shown.length) return [nothing(sentence(runs[0].missing) || "The text is too short to follow a gradient back.")];
    const one = runs.length === 1, series = [], rows = [];
    const left = (norms) => {
      const k = reach(norms);
      return k === null ? "more than 100 steps" : `${k} ${k === 1 ? "step" : "steps"}`;
    };
    for (const run of shown) {
      const { trained, first, first_name } = run.gradient;
      (trained || first).forEach((_, layer, all) => {
        const title = [one ? null : harmless(run.name), all.length > 1 ? `layer ${layer + 1}` : null].filter(Boolean).join(", ");
        for (const [values, name, dashed] of [[trained, "as trained", false], [first, first_name, true]]) {
          if (!values) continue;
          const points = values[layer].map((v, k) => [k, v]).filter((p) => p[1] !== null);
          series.push({ name: title ? `${title}, ${name}` : name, color: one ? (layer % 6) + 1 : run.color, dashed, faint: dashed, points });
        }
        rows.push([title || "this network", trained ? left(trained[layer]) : "–", first ? left(first[layer]) : "–"]);
      });
    }
    const chart = Page.lineChart({
      label: "The norm of the gradient against the distance in time", series, height: 340, legend: one,
      x: { name: "k, characters back", format: (v) => String(v) }, y: { name: "mean norm of d loss[t] / d h[t−k]", log: true, format: Page.power },
    });
    return [
      one ? null : el("p", { class: "small soft", style: { margin: "0" } }, "Solid: as trained. Dashed: before the first step."),
      one ? null : Page.legend(shown.map((run) => ({ name: harmless(run.name), color: run.color }))),
      chart.node,
      el("div", { style: { "margin-top": "1rem" } }, Page.table("After how many steps a hundredth of the gradient is left", [["Network", ""], ["As trained", "number"], [one ? capitalized(shown[0].gradient.first_name) : "Before the first step", "number"]], rows)),
    ].filter(Boolean);
  }

  function capitalized(text) {
    return text.replace(/^./, (c) => c.toUpperCase());
  }

  // ---- 7. where it loses

  function losses(run) {
    const data = run.losses;
    if (!data) return [nothing(sentence(run.missing) || "There is no text to evaluate.")];
    const worst = Math.max(...data.kind.map((g) => g.loss), 1e-9);
    const kinds = el("div", { class: "groups" },
      ["", "", "nats", "of the loss"].map((name) => el("span", { class: "head value" }, name)),
      data.kind.map((g) => [
        el("span", {}, g.name), el("span", { class: "bar", "aria-hidden": "true" }, el("i", { style: { "--v": (g.loss / worst).toFixed(4) } })),
        el("span", { class: "value" }, number(g.loss, 2)), el("span", { class: "value soft" }, percent(g.share_of_loss)),
      ]));
    const position = (groups, name) => Page.lineChart({
      label: name, height: 210, legend: false, series: [{ name: "nats per character", color: 1, points: groups.map((g) => [parseInt(g.name, 10), g.loss]) }],
      x: { name, format: (v) => (Number.isInteger(v) ? String(v) : "") }, y: { low: 0, format: (v) => number(v, 1), read: (v) => number(v, 3) },
    }).node;
    const calibration = Page.lineChart({
      label: "Calibration", height: 260,
      series: [
        { name: "perfect", color: 5, dashed: true, faint: true, points: [[0, 0], [1, 1]] },
        { name: "this network", color: 1, points: data.calibration.map(([predicted, frequency]) => [predicted, frequency]) },
      ],
      x: { name: "probability that the network gave", format: percent }, y: { name: "how often it came", low: 0, high: 1, format: percent },
    });
    return [
      el("div", { class: "two even" },
        el("div", {}, el("h3", {}, "By kind of character"), kinds),
        el("div", {}, el("h3", {}, "Calibration"), calibration.node,
          el("p", { class: "small soft" }, `The likeliest character came in ${percent(data.accuracy)} of the cases. Its probability is off by ${number(100 * data.calibration_error, 1)} percentage points on average.`)),
        data.word.length ? el("div", {}, el("h3", {}, "By position in the word"), position(data.word, "letter of the word")) : null,
        el("div", {}, el("h3", {}, "By position in the line"), position(data.line, "character of the line"))),
      el("p", { class: "small soft", style: { "margin-top": "1rem" } }, `Over ${count(data.count)} characters, read in stretches: ${number(data.loss)} nats per character.`),
    ];
  }

  // ---- 8. reproduce

  const LABELS = { step: "Continued at step", commit: "Commit", python: "Python", numpy: "NumPy", blas: "BLAS", system: "System", processor: "Processor", cores: "Cores", device: "Device", label: "Computed by" };

  function reproduce(run) {
    const data = run.provenance;
    const text = [
      ["Text", data.files.length ? harmless(data.files.join(", ")) : "the embedded corpus"], ["Characters", count(data.characters)],
      ["SHA-256", data.sha256], ["Checkpoint", harmless(data.checkpoint)], 
      ...Object.entries(data.environment).filter(([k, v]) => k !== "step" || v !== "0").map(([k, v]) => [LABELS[k] || harmless(k), harmless(v)]),
    ];
    return [
      data.command ? el("pre", { class: "command", tabindex: "0", "aria-label": "Command that repeats the run" }, harmless(data.command)) : null,
      el("div", { class: "two" },
        el("div", {},
          el("h3", {}, `Configuration, against the preset ${data.preset}`),
          data.differences.length
            ? Page.table("Keys that differ", [["Key", ""], ["This run", ""], ["Preset", ""]], data.differences.map((row) => row.map(harmless)))
            : nothing("Nothing differs.")),
        el("div", {}, el("h3", {}, "Text, versions, machine"),
          el("dl", { class: "pairs" }, text.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])))),
      el("details", {}, el("summary", {}, "The whole configuration"), el("pre", { tabindex: "0" }, harmless(data.config))),
    ];
  }

  // ---- the page

  const PANELS = [
    ["verdict", "Verdict", "How well the network predicts text that it was not trained on.", verdict],
    ["curves", "Curves", "Losses while it trained. Hover, touch, or use the arrow keys to read values.", null],
    ["samples", "Samples through time", "From noise to words: what the network wrote while it learned.", samples],
    ["surprise", "What surprises it", "Held-out text, colored by how little the network expected each character.", surprise],
    ["neurons", "Neurons", "What single units follow, and where they are active.", neurons],
    ["gradient", "The gradient through time", "How much the loss at a character depends on the state k characters before it.", null],
    ["losses", "Where it loses", "The loss by the place and kind of a character, and whether its probabilities can be trusted.", losses],
    ["reproduce", "Reproduce", "The command that repeats the run, and everything that it depends on.", reproduce],
  ];

  function draw(data) {
    const runs = data.runs.map((run, i) => ({ ...run, color: (i % 6) + 1, sameText: data.same_text }));
    const bodies = {};
    const many = runs.length > 1;
    const sections = PANELS.map(([id, name, lead, panel]) => {
      bodies[id] = el("div", {});
      if (id === "curves") bodies[id].append(...curves(runs).filter(Boolean));
      if (id === "gradient") bodies[id].append(...gradient(runs));
      const about = id === "surprise" && runs.some((run) => run.surprise && !run.surprise.held_out) ? "Text colored by how little the network expected each character." : lead;
      return el("section", { class: "card", id, "aria-labelledby": `${id}-name` },
        el("h2", { id: `${id}-name` }, name), el("p", { class: "lead" }, about),
        many && id === "verdict" ? overview(runs, data.same_text) : null,
        many && id === "verdict" ? el("div", { style: { height: "1.5rem" } }) : null,
        bodies[id]);
    });
    const buttons = runs.map((run) => el("button", { type: "button", "aria-pressed": "false", on: { click: () => show(run) } },
      el("i", { class: `dot c${run.color}` }), harmless(run.name)));
    function show(run) {
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(runs[i] === run)));
      for (const [id, , , panel] of PANELS) if (panel) bodies[id].replaceChildren(...panel(run).filter(Boolean));
    }
    const first = runs[0].summary;
    document.getElementById("main").append(
      el("header", { class: "top" },
        el("p", { class: "kicker" }, "charrnn report"),
        el("h1", {}, harmless(runs.map((run) => run.name).join(", "))),
        el("p", { class: "about" }, many ? `${runs.length} runs` : [first.network, ` · ${count(first.parameters)} parameters`, first.text ? ` · tested on ${harmless(first.text)}` : ""]),
        runs.flatMap((run) => run.notices).map((line) => el("p", { class: "small bad" }, harmless(line))),
        el("nav", { "aria-label": "Panels" }, el("ul", { class: "contents" }, PANELS.map(([id, name]) => el("li", {}, el("a", { href: `#${id}` }, name)))))),
      ...(many ? [el("div", { class: "runs" }, el("div", { class: "segments", role: "group", "aria-label": "Run that is shown" }, buttons))] : []),
      ...sections,
      el("footer", {}, `Made by charrnn ${data.version} from finished runs. This file sends no request.`));
    show(runs[0]);
  }

  return { draw, marked, reach, unitName, signed, likeliest };
})();

if (typeof document !== "undefined") Report.draw(Page.data());
if (typeof module !== "undefined") module.exports = Report;
