"use strict";
// The playground's page. `Network` computes (network.js), `Page` makes elements (common.js).

(() => {
  const { el, visible, spoken, count, number, percent } = Page;
  const { network: description, facts } = Page.data();
  const net = Network.load(description);
  const BUDGET = 14, LONG_BUDGET = 30; // milliseconds of computing in a frame; the long one at full speed
  const SHOWN = 12; // bars of next characters
  const SPEEDS = { slow: ["Slow", 12], steady: ["Steady", 70], full: ["Full speed", Infinity] };
  const FIRST_LENGTH = 280; // characters that the page writes when it opens
  const RETURN = "\u240d"; // shown for a carriage return, which a text field cannot hold

  let document_ = new Network.Document(net); // what the network has read
  let target = []; // the ids of the text in the field, of which `document_` has the first ones
  let inputs = []; // what the network reads for them
  let mine = []; // for each of them whether the user wrote it
  let units = []; // the value of the chosen unit after each character that was read
  let unit = null; // its number, or null: the text is colored by surprise
  let work = null; // what the network writes: {writer, shown, began, speed}
  let last = null; // where its last text began
  let waiting = null; // what happens when the whole text is read
  let scheduled = false;
  let composing = false;
  let speed = "steady";

  // ---- elements

  const field = el("textarea", {
    id: "text", "aria-label": "Your text, which the network reads and continues", spellcheck: "false", rows: 1,
    autocomplete: "off", autocapitalize: "off", autocorrect: "off", dir: "auto", "aria-describedby": "keys",
    placeholder: "Type something, then let the network go on.",
  });
  const colored = el("div", { class: "colored", "aria-hidden": "true" });
  const paper = el("div", { class: "paper" }, el("div", { class: "layers" }, colored, field));
  const average = el("span", { id: "average" });
  const scale = el("span", { class: "scale" });
  const notice = el("p", { class: "notice", id: "notice", role: "status" });
  const writeButton = el("button", { class: "primary", id: "write", type: "button" }, "Write");
  const againButton = el("button", { id: "again", type: "button", disabled: true, title: "Remove what the network wrote last, and write anew with the next seed" }, "Again");
  const clearButton = el("button", { id: "clear", type: "button" }, "Clear");
  const speeds = segments("Speed", Object.entries(SPEEDS).map(([key, [name]]) => [key, name]), speed, (key) => {
    speed = key;
    if (work) pace();
  });
  const choices = el("ul", { class: "choices", id: "choices" });
  const choicesTitle = el("h2", { id: "choices-title" }, "The next character");
  const lights = Array.from({ length: net.L }, (_, layer) => el("canvas", {
    role: "img", "aria-label": `The ${net.H} hidden units of layer ${layer + 1} as colors`,
  }));
  const unitField = el("input", { type: "number", id: "unit", min: 1, max: net.L * net.H, value: 1, "aria-label": "Number of the unit" });
  const colorBy = segments("Color the text by", [["surprise", "Surprise"], ["unit", "Unit"]], "surprise", (key) => {
    chooseUnit(key === "unit" ? Number(unitField.value) - 1 : null);
  });

  function segments(label, options, chosen, act) {
    const buttons = options.map(([key, name]) => el("button", {
      type: "button", "data-key": key, "aria-pressed": String(key === chosen), on: { click: () => choose(key) },
    }, name));
    function choose(key) {
      mark(key);
      act(key);
    }
    function mark(key) {
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.key === key));
    }
    return { node: el("div", { class: "segments", role: "group", "aria-label": label }, buttons), mark };
  }

  function slider(id, label, { min, max, step, value, format }) {
    const output = el("output", { for: id }, format(value));
    const input = el("input", { type: "range", id, min, max, step, value, on: { input: () => {
      output.textContent = format(Number(input.value));
      drawChoices();
    } } });
    return { input, node: el("div", { class: "field" }, el("label", { for: id }, label), output, input) };
  }

  function entry(id, label, attributes) {
    const input = el("input", { id, ...attributes, on: { input: () => drawChoices() } });
    return { input, node: el("div", { class: "field short" }, el("label", { for: id }, label), input) };
  }

  const plain = (v) => (v === 0 ? "0: always the likeliest" : number(v, 2));
  const temperature = slider("temperature", "Temperature", { min: 0, max: 2, step: 0.05, value: 0.8, format: plain });
  const seed = entry("seed", "Seed", { type: "number", min: 0, max: Number.MAX_SAFE_INTEGER, value: 1 });
  const length = entry("length", "Characters to write", { type: "number", min: 1, max: 100000, value: 500 });
  const topP = slider("top-p", "Top-p", { min: 0.05, max: 1, step: 0.05, value: 1, format: (v) => (v === 1 ? "1: all" : number(v, 2)) });
  const minP = slider("min-p", "Min-p", { min: 0, max: 0.5, step: 0.01, value: 0, format: (v) => (v === 0 ? "0: all" : number(v, 2)) });
  const topK = entry("top-k", "Top-k (0: all)", { type: "number", min: 0, max: net.V, value: 0 });
  const stop = entry("stop", "Stop before", { type: "text", value: "", placeholder: net.separator.length ? "end of document" : "never", spellcheck: "false" });

  function about() {
    const shape = `${net.L > 1 ? `${net.L} layers of ` : ""}${count(net.H)} ${net.cell.toUpperCase()} units, ${count(facts.parameters)} weights`;
    const learned = facts.text ? `, which learned the ${count(facts.characters)} characters of ${facts.text}` : "";
    const loss = facts.nats === null ? "" : ` On text that it never saw, it needs ${number(facts.nats / Math.LN2, 2)} bits for a character.`;
    return `A small neural network: ${shape}${learned}.${loss}`;
  }

  document.getElementById("main").replaceWith(el("main", { id: "main", class: "playground" },
    el("header", {}, el("h1", { dir: "auto" }, facts.run), el("p", { class: "soft" }, about())),
    el("div", { class: "columns" },
      el("div", { class: "column" },
        el("section", { class: "card sheet", "aria-label": "Text" },
          paper,
          el("div", { class: "legend-row" }, scale, average),
          notice,
          el("div", { class: "actions" }, writeButton, againButton, clearButton, speeds.node),
        ),
        el("section", { class: "card state", "aria-label": "State" },
          el("div", { class: "state-head" }, el("h2", {}, "What it remembers"),
            el("div", { class: "color-by" }, el("span", { class: "soft" }, "Color by"), colorBy.node, unitField)),
          lights,
          el("p", { class: "small soft" }, "Each light is a hidden unit after the last character: blue is near −1, orange near 1. Click one to see where in the text it lights up."),
        ),
      ),
      el("div", { class: "column" },
        el("section", { class: "card", "aria-labelledby": "choices-title" }, choicesTitle, choices,
          el("p", { class: "small soft", style: { "margin-top": "0.6rem" } }, "Pale: the network's own probability. Solid: with your settings. Click a character to add it.")),
        el("section", { class: "card settings", "aria-label": "Settings" },
          temperature.node, seed.node, length.node,
          el("details", {}, el("summary", {}, "More ways to choose"), el("div", {},
            topP.node, minP.node, topK.node, stop.node,
            el("p", {}, "Several stop strings: separate them by spaces. \\n is a line end, \\t a tab, \\s a space, \\\\ a backslash.")))),
      ),
    ),
    el("footer", {}, el("p", { id: "keys" }, "Ctrl+Enter writes, Escape stops. The same text, seed and settings give the same continuation. Everything runs in this page; nothing is sent anywhere. Made by charrnn ", facts.version, ".")),
  ));
  const main = document.getElementById("main");

  // ---- the text in the field, and what the network has read of it

  const fromField = (text) => (net.ids.has(RETURN) ? text : text.replaceAll(RETURN, "\r"));
  const forField = (text) => (net.ids.has(RETURN) ? text : text.replaceAll("\r", RETURN));

  function edited() {
    if (work) end("");
    let text = fromField(field.value);
    const known = composing ? text : Network.normalized(net, text); // to change the field would end the composition
    if (known !== text) {
      const caret = forField(Network.normalized(net, fromField(field.value.slice(0, field.selectionEnd)))).length;
      field.value = forField(known);
      field.setSelectionRange(caret, caret);
      text = known;
    }
    characters = Array.from(text);
    place = placeOfCaret();
    setTarget(characters);
    const unknown = [...new Set(Network.unknown(net, text))];
    const more = unknown.length > 8 ? ` and ${unknown.length - 8} more` : "";
    if (unknown.length) say(`The network never saw ${unknown.slice(0, 8).map((c) => `“${visible(c)}”`).join(" ")}${more} and does not read ${unknown.length > 1 ? "them" : "it"}.`);
    else say("");
    last = null;
    ended = false;
    againButton.disabled = true;
  }

  /** Make `text`, a list of characters, the text to read. What an edit inserts is the user's. */
  function setTarget(text) {
    const ids = text.map((c) => net.ids.get(c) ?? -1);
    let same = 0, tail = 0;
    while (same < ids.length && same < target.length && ids[same] === target[same]) same++;
    while (tail < Math.min(ids.length, target.length) - same && ids.at(-1 - tail) === target.at(-1 - tail)) tail++;
    const after = mine.slice(target.length - tail);
    mine = [...mine.slice(0, same), ...new Array(ids.length - same - tail).fill(true), ...after];
    target = ids;
    characters = text;
    inputs = Network.inputsOf(net, ids);
    same = Math.min(same, document_.length, document_.common(ids, inputs));
    document_.truncate(same);
    units.length = Math.min(units.length, document_.length);
    draw(same);
    schedule();
  }
  let characters = []; // the characters of the field, also those that the network does not know

  function schedule() {
    if (!scheduled) requestAnimationFrame(frame);
    scheduled = true;
    setState();
  }

  function advance() {
    document_.append(target[document_.length], inputs[document_.length]);
    if (unit !== null) units.push(document_.state.hidden[Math.floor(unit / net.H)][unit % net.H]);
  }

  function frame(now) {
    scheduled = false;
    const until = performance.now() + (work && work.rate === Infinity ? LONG_BUDGET : BUDGET);
    if (work) {
      writeSome(now, until);
      return;
    }
    const first = document_.length;
    while (document_.length < target.length && performance.now() < until) advance();
    refresh(first, document_.length);
    if (document_.length < target.length) schedule();
    else if (waiting) {
      const act = waiting;
      waiting = null;
      act();
    }
    setState();
  }

  function setState() {
    main.dataset.state = work ? "writing" : scheduled || document_.length < target.length || waiting ? "reading" : "idle";
    main.classList.toggle("writing", work !== null);
  }

  // ---- writing

  function settings() {
    const whole = (input, low, high, fallback) => (Number.isFinite(input.valueAsNumber) ? Math.min(high, Math.max(low, Math.floor(input.valueAsNumber))) : fallback);
    return {
      temperature: Number(temperature.input.value), topP: Number(topP.input.value), minP: Number(minP.input.value),
      topK: whole(topK.input, 0, net.V, 0), seed: whole(seed.input, 0, Number.MAX_SAFE_INTEGER, 0),
      length: whole(length.input, 1, 100000, 500),
    };
  }

  const ESCAPES = { n: "\n", t: "\t", r: "\r", s: " ", "\\": "\\" };
  function stopStrings() {
    const words = stop.input.value.split(" ").filter((word) => word !== "");
    return words.map((word) => word.replace(/\\(.)/gu, (all, c) => ESCAPES[c] ?? all));
  }

  const separator = net.separator.map((id) => net.characters[id]).join("");
  let ended = false; // whether the text ends where the network ended a document

  function write(options = {}) {
    if (work) return;
    if (ended) { // the next document: it would be the same one with the same seed
      ended = false;
      put(separator);
      seed.input.value = String(settings().seed + 1);
      options = { stops: [separator] };
    }
    setTarget(characters); // what the network wrote is read again where it would read it otherwise
    if (document_.length < target.length) {
      waiting = () => write(options);
      setState();
      return;
    }
    place = Infinity;
    const text = characters.join("");
    const stops = Network.stopStrings(net, text, stopStrings());
    const writer = new Network.Writer(document_, { ...settings(), stops, ...options });
    last = { start: document_.length, options };
    work = { writer, shown: document_.length };
    pace();
    writeButton.textContent = "Stop";
    writeButton.setAttribute("aria-keyshortcuts", "Escape");
    if (!notice.textContent.startsWith("The network never")) say("");
    setState();
    schedule();
  }

  /** Add text that is not the user's, before the network writes. */
  function put(text) {
    const before = characters.length;
    setTarget([...characters, ...text]);
    mine.fill(false, before);
    field.value = forField(characters.join(""));
  }

  function pace() {
    work.began = performance.now();
    work.made = 0;
    work.rate = SPEEDS[speed][1];
  }

  function writeSome(now, until) {
    const { writer } = work, first = document_.length, { temperature: t, topP: p, minP: least, topK: k } = settings();
    Object.assign(writer.settings, { temperature: t, topP: p, minP: least, topK: k }); // they may change on the way
    let more = true;
    while (more && performance.now() < until && (work.made === 0 || work.made < ((performance.now() - work.began) / 1000) * work.rate)) {
      more = writer.next();
      work.made++;
      if (unit !== null && document_.length > units.length) units.push(document_.state.hidden[Math.floor(unit / net.H)][unit % net.H]);
    }
    units.length = Math.min(units.length, document_.length);
    show(writer.certain);
    const seconds = (performance.now() - work.began) / 1000;
    if (work.rate === Infinity && seconds > 0.05) main.dataset.speed = String(Math.round(work.made / seconds));
    if (!more) {
      ended = writer.reason === "stop" && separator !== "" && writer.settings.stops.includes(separator) && !stopStrings().length;
      const reasons = { stop: ended ? "The document ended. Write begins another one." : "It came to a stop string.", length: "" };
      const fast = work.rate === Infinity && work.made > 200 ? `${count(work.made)} characters, ${count(work.made / seconds)} a second.` : "";
      end([reasons[writer.reason], fast].filter(Boolean).join(" "));
    } else schedule();
    if (first !== document_.length || !more) setState();
  }

  /** Show the first `n` characters that the network has written so far. */
  function show(n) {
    const from = work.shown, added = document_.ids.slice(from, n);
    if (n <= from) return;
    target = [...target, ...added];
    inputs = document_.inputs.slice(0, n);
    characters = [...characters, ...added.map((id) => net.characters[id])];
    for (let i = from; i < n; i++) mine.push(false);
    work.shown = n;
    const near = paper.scrollHeight - paper.scrollTop - paper.clientHeight < 80;
    draw(from, work.rate !== Infinity); // the field gets its text at the end: a browser needs long to lay it out
    if (near) paper.scrollTop = paper.scrollHeight;
  }

  function end(message) {
    const { shown } = work;
    work = null;
    document_.truncate(shown);
    units.length = Math.min(units.length, shown);
    field.value = forField(characters.join(""));
    writeButton.textContent = "Write";
    writeButton.removeAttribute("aria-keyshortcuts");
    againButton.disabled = last === null || last.start >= shown;
    if (message) say(message);
    draw(shown);
    setState();
  }

  function again() {
    if (work) end("");
    if (last === null) return;
    const { start, options } = last;
    ended = false;
    field.value = forField(characters.slice(0, start).join(""));
    setTarget(characters.slice(0, start));
    seed.input.value = String((settings().seed + 1) % Number.MAX_SAFE_INTEGER);
    write(options);
  }

  function clear() {
    if (work) end("");
    waiting = last = null;
    ended = false;
    place = Infinity;
    field.value = "";
    setTarget([]);
    againButton.disabled = true;
    say("");
    field.focus();
  }

  function say(message) {
    if (notice.textContent !== message) notice.textContent = message;
  }

  /** Return the most frequent capital letter, with which a text may begin; nothing if there is none. */
  function capital() {
    const capitals = [...net.characters.keys()].filter((id) => /\p{Lu}/u.test(net.characters[id]));
    return capitals.length ? net.characters[capitals.reduce((a, b) => (net.counts[b] > net.counts[a] ? b : a))] : "";
  }

  // ---- drawing the text

  // A line is an element of its own, so that the browser lays out only the line that changes.
  const spans = []; // {node, start, end}: each shows the characters from `start` to before `end`
  const MARK = /[\p{M}\u200d\ufe00-\ufe0f\u{1f3fb}-\u{1f3ff}]/u;
  const FLAG = /[\u{1f1e6}-\u{1f1ff}]/u;

  /** Return an empty line. The character without a width gives it its height. */
  function newLine() {
    return el("div", {}, "\u200b");
  }

  function removeLast() {
    const { node, ends } = spans.pop();
    if (ends) node.parentNode.nextSibling.remove();
    node.remove();
  }

  function joins(i) {
    if (i === 0 || characters[i] === "\n") return false;
    if (MARK.test(characters[i]) || characters[i - 1] === "\u200d") return characters[i - 1] !== "\n";
    if (!FLAG.test(characters[i]) || !FLAG.test(characters[i - 1])) return false;
    let flags = 0;
    while (i - 1 - flags >= 0 && FLAG.test(characters[i - 1 - flags])) flags++;
    return flags % 2 === 1;
  }

  /** Make the elements of the text from character `from` on, and show what is known about it. */
  function draw(from, added = false) {
    while (spans.length && (spans.at(-1).end > from || spans.at(-1).end > characters.length)) removeLast();
    let i = spans.length ? spans.at(-1).end : 0;
    if (spans.length && i < characters.length && joins(i)) {
      i = spans.at(-1).start;
      removeLast();
    }
    let line = colored.lastElementChild || colored.appendChild(newLine());
    while (i < characters.length) {
      const start = i++;
      while (i < characters.length && joins(i)) i++;
      const ends = characters[start] === "\n"; // the end of a line is the end of an element
      const node = el("span", {}, ends ? "" : forField(characters.slice(start, i).join("")));
      if (added) node.className = "new";
      spans.push({ node, start, end: i, ends });
      line.lastChild.before(node);
      if (ends) line = colored.appendChild(newLine());
    }
    refresh(from, characters.length);
  }

  /** Show what is known about the characters from `from` to before `to`, and about the end of the text. */
  function refresh(from, to) {
    paint(from, to);
    drawAverage();
    drawChoices();
    drawLights();
  }

  function paint(from, to) {
    let index = 0; // of the first element after `from`
    for (let high = spans.length; index < high; ) {
      const middle = (index + high) >> 1;
      if (spans[middle].end > from) high = middle;
      else index = middle + 1;
    }
    for (; index < spans.length && spans[index].start < to; index++) {
      const { node, start, end } = spans[index];
      let v = 0, tint = "";
      for (let i = start; i < end; i++) {
        if (unit === null) v = Math.max(v, i < document_.length && document_.nats[i] !== null ? Page.surprise(document_.nats[i]) : 0);
        else if (i < units.length && target[i] >= 0) [v, tint] = [Math.min(1, Math.abs(units[i])), units[i] < 0 ? "var(--cold)" : ""];
      }
      if (v < 0.01) node.removeAttribute("style");
      else {
        node.style.setProperty("--v", v.toFixed(2));
        if (tint) node.style.setProperty("--tint", tint);
        else node.style.removeProperty("--tint");
      }
      node.classList.toggle("mine", mine[start] && characters[start] !== "\n");
      node.classList.toggle("unknown", target.slice(start, end).includes(-1));
    }
  }

  function drawAverage() {
    let sum = 0, n = 0;
    for (const nats of document_.nats) if (nats !== null) [sum, n] = [sum + nats, n + 1];
    average.textContent = n ? `${count(characters.length)} characters, ${number(sum / n / Math.LN2, 2)} bits each` : "";
    const words = unit === null ? ["expected", "surprising"] : ["−1", "+1"];
    scale.className = unit === null ? "scale" : "scale units";
    if (scale.textContent !== words.join("")) scale.replaceChildren(words[0], el("i", {}), words[1]);
  }

  // ---- drawing the next character

  const rows = Array.from({ length: Math.min(SHOWN, net.V) }, () => {
    const letter = el("span", { class: "letter" }), own = el("i", { class: "own" }), drawn = el("i", { class: "drawn" });
    const share = el("span", { class: "share" }, own, drawn), text = el("span", { class: "percent" });
    const row = { letter, own, drawn, text, id: 0 };
    row.button = el("button", { type: "button", on: { click: () => add(row.id) } }, letter, share, text);
    row.item = el("li", {}, row.button);
    return row;
  });
  choices.append(...rows.map((row) => row.item));
  let drawnAt = 0;

  let place = Infinity; // of the caret in the text, in characters; infinity: the end

  function placeOfCaret() {
    const at = Array.from(field.value.slice(0, field.selectionEnd)).length;
    return at >= characters.length ? Infinity : at;
  }

  function drawChoices() {
    if (work && work.rate === Infinity && performance.now() - drawnAt < 150) return;
    if (document_.length < target.length) return;
    drawnAt = performance.now();
    const at = work ? document_.length : Math.min(place, characters.length), before = document_.at(at), inside = at < characters.length;
    const own = before.next(Network.PLAIN), chosen = before.next(settings());
    const [ownSum, chosenSum] = [own, chosen].map((shares) => shares.reduce((a, b) => a + b, 0));
    const best = likeliest(own, rows.length);
    if (inside && target[at] >= 0 && !best.includes(target[at])) best[best.length - 1] = target[at];
    rows.forEach((row, rank) => {
      const id = best[rank], character = net.characters[id], shape = visible(character);
      row.id = id;
      row.letter.textContent = shape;
      row.letter.classList.toggle("long", shape.length > 3 && shape.startsWith("U+"));
      row.own.style.setProperty("--v", (own[id] / ownSum).toFixed(4));
      row.drawn.style.setProperty("--v", (chosen[id] / chosenSum).toFixed(4));
      row.text.textContent = rough(chosen[id] / chosenSum);
      row.item.classList.toggle("actual", inside && id === target[at]);
      row.button.setAttribute("aria-label", `Add ${spoken(character)}, ${rough(chosen[id] / chosenSum)}`);
    });
    const title = inside ? "What it expected at the caret" : "The next character";
    if (choicesTitle.textContent !== title) choicesTitle.textContent = title;
  }

  const rough = (share) => (share > 0 && share < 0.001 ? "< 0.1%" : percent(share));

  function likeliest(shares, n) {
    const best = [];
    for (let id = 0; id < shares.length; id++) {
      if (best.length === n && shares[id] <= shares[best[n - 1]]) continue;
      let place = best.length;
      while (place > 0 && shares[best[place - 1]] < shares[id]) place--;
      best.splice(place, 0, id);
      if (best.length > n) best.pop();
    }
    return best;
  }

  /** Add a character that the user clicked, at the caret. */
  function add(id) {
    if (work) end("");
    const at = Math.min(place, characters.length), text = [...characters.slice(0, at), net.characters[id], ...characters.slice(at)];
    field.value = forField(text.join(""));
    const after = forField(text.slice(0, at + 1).join("")).length;
    field.setSelectionRange(after, after);
    place = at + 1 === text.length ? Infinity : at + 1;
    setTarget(text);
    last = null;
    ended = false;
    againButton.disabled = true;
    paper.scrollTop = at + 1 === text.length ? paper.scrollHeight : paper.scrollTop;
  }
  document.addEventListener("selectionchange", () => {
    if (document.activeElement !== field || work || placeOfCaret() === place) return;
    place = placeOfCaret();
    drawChoices();
  });

  // ---- drawing the state

  let colors = null;

  function themeColors() {
    const style = getComputedStyle(document.documentElement);
    return ["--sunk", "--hot", "--cold"].map((name) => rgb(style.getPropertyValue(name).trim()));
  }

  function rgb(hex) {
    return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  }

  function drawLights() {
    colors = colors || themeColors();
    lights.forEach((canvas, layer) => {
      const width = canvas.clientWidth, ratio = devicePixelRatio || 1;
      if (!width) return;
      const { columns, lines, size } = grid(width);
      const height = lines * size;
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
        canvas.style.height = `${height}px`;
      }
      const context = canvas.getContext("2d"), values = document_.state.hidden[layer], gap = size > 6 ? 1.5 : 0.5;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      const [neutral, hot, cold] = colors;
      for (let i = 0; i < net.H; i++) {
        const v = Math.max(-1, Math.min(1, values[i])), strong = v < 0 ? cold : hot, share = Math.abs(v);
        context.fillStyle = `rgb(${neutral.map((n, k) => Math.round(n + (strong[k] - n) * share)).join(" ")})`;
        context.beginPath();
        context.roundRect((i % columns) * size, Math.floor(i / columns) * size, size - gap, size - gap, size > 6 ? 2 : 0);
        context.fill();
        if (unit === layer * net.H + i) {
          context.strokeStyle = getComputedStyle(canvas).color;
          context.lineWidth = 2;
          context.strokeRect((i % columns) * size + 0.5, Math.floor(i / columns) * size + 0.5, size - gap - 1, size - gap - 1);
        }
      }
    });
  }

  /** Return how the units fill a width: squares, as large as a height of about 90 pixels allows. */
  function grid(width) {
    const size = Math.max(3, Math.min(18, Math.sqrt((width * 90) / net.H)));
    const least = Math.max(1, Math.min(net.H, Math.floor(width / size)));
    let columns = least;
    while (net.H % columns && columns < 1.5 * least) columns++; // without a rest in the last line, if possible
    if (net.H % columns) columns = least;
    return { columns, lines: Math.ceil(net.H / columns), size: Math.min(22, width / columns) };
  }

  function unitAt(event, layer) {
    const box = lights[layer].getBoundingClientRect(), { columns, size } = grid(box.width);
    const column = Math.floor((event.clientX - box.left) / size), i = Math.floor((event.clientY - box.top) / size) * columns + column;
    return column < columns && i >= 0 && i < net.H ? i : null;
  }

  /** Color the text by a unit; null: by surprise. The text is read again, as its states are not kept. */
  function chooseUnit(number_) {
    if (work) end("");
    unit = Number.isInteger(number_) ? Math.max(0, Math.min(net.L * net.H - 1, number_)) : null;
    colorBy.mark(unit === null ? "surprise" : "unit");
    units = [];
    if (unit !== null) {
      unitField.value = String(unit + 1);
      document_ = new Network.Document(net);
    }
    draw(0);
    schedule();
  }

  lights.forEach((canvas, layer) => {
    canvas.addEventListener("click", (event) => {
      const i = unitAt(event, layer);
      if (i !== null) chooseUnit(unit === layer * net.H + i ? null : layer * net.H + i);
    });
    canvas.addEventListener("pointermove", (event) => {
      const i = unitAt(event, layer);
      if (i === null) return Page.hideTip();
      const where = { left: event.clientX - 1, top: event.clientY - 8, width: 2, bottom: event.clientY + 8 };
      Page.showTip(where, `unit ${layer * net.H + i + 1}: ${number(document_.state.hidden[layer][i], 2)}`);
    });
    canvas.addEventListener("pointerleave", Page.hideTip);
  });

  // ---- events

  field.addEventListener("compositionstart", () => { composing = true; });
  field.addEventListener("compositionend", () => { composing = false; edited(); });
  field.addEventListener("beforeinput", () => { if (work) end(""); });
  field.addEventListener("input", edited);
  unitField.addEventListener("input", () => { if (Number.isFinite(unitField.valueAsNumber)) chooseUnit(Math.floor(unitField.valueAsNumber) - 1); });
  writeButton.addEventListener("click", () => (work ? end("") : write()));
  againButton.addEventListener("click", again);
  clearButton.addEventListener("click", clear);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && work) end("");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      write();
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colors = null; drawLights(); });
  new ResizeObserver(drawLights).observe(lights[0]);

  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    speed = "full";
    speeds.mark(speed);
  }
  draw(0);
  setState();
  if (!net.startSymbol) put(capital());
  write(separator ? { length: FIRST_LENGTH, stops: [] } : { length: FIRST_LENGTH });
})();
