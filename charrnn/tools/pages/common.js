"use strict";
// What all pages share. Text becomes text nodes only, so no text can become markup.

const Page = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  // ---- elements

  function data() {
    return JSON.parse(document.getElementById("data").textContent);
  }

  /** Return an element. Attributes: `on` is {event: function}, `style` is {property: value}, null is left out. */
  function el(tag, attributes = {}, ...children) {
    return filled(document.createElement(tag), attributes, children);
  }

  function svg(tag, attributes = {}, ...children) {
    return filled(document.createElementNS(SVG, tag), attributes, children);
  }

  function filled(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
      else if (name === "style") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }

  let ids = 0;
  function uniqueId(prefix = "id") {
    return `${prefix}-${++ids}`;
  }

  // ---- characters

  const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u034f\u115f\u1160\u3164\uffa0]/u;
  const JOINERS = new Set(["\u200c", "\u200d"]); // Persian and emoji need them between their neighbors
  const NAMES = { "\n": "newline", "\t": "tab", "\r": "carriage return", " ": "space", "\u00a0": "no-break space" };
  const SIGNS = { "\n": "↵", "\t": "⇥", "\r": "␍", " ": "␣", "\u00a0": "⍽" };

  function codePoint(character) {
    return "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  }

  /** Return the visible form of one character, as text: itself, a sign, or its code point. */
  function visible(character) {
    if (SIGNS[character]) return SIGNS[character];
    if (INVISIBLE.test(character)) return codePoint(character);
    if (/\p{M}/u.test(character)) return "\u25cc" + character; // a combining mark stands on a dotted circle
    return character;
  }

  /** Return the name of one character as a screen reader can say it. */
  function spoken(character) {
    return NAMES[character] || (INVISIBLE.test(character) ? codePoint(character) : character);
  }

  /** Return `text` with every control character as its code point; line ends and tabs stay. */
  function harmless(text) {
    return Array.from(text, (c) => (INVISIBLE.test(c) && !"\n\t".includes(c) && !JOINERS.has(c) ? codePoint(c) : c)).join("");
  }

  /** Return the children of the element that shows one character in running text. */
  function running(character) {
    if (character === "\n") return [el("span", { class: "sign" }, "↵"), "\n"];
    if (character === "\t") return [el("span", { class: "sign" }, "⇥"), "\t"];
    if (character === " " || JOINERS.has(character)) return [character];
    if (SIGNS[character]) return [el("span", { class: "sign" }, SIGNS[character])];
    if (INVISIBLE.test(character)) return [el("span", { class: "code-point" }, codePoint(character))];
    return [character];
  }

  /** Return the children of an element that shows a text: text, and a frame around each code point of `harmless`. */
  function framed(text) {
    const parts = [];
    let run = "";
    for (const c of text) {
      if (!INVISIBLE.test(c) || "\n\t".includes(c) || JOINERS.has(c)) run += c;
      else {
        parts.push(run, el("span", { class: "code-point" }, codePoint(c)));
        run = "";
      }
    }
    return [...parts, run].filter((part) => part !== "");
  }

  // ---- numbers

  function number(value, digits = 3) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size !== 0 && size < 0.5 * 10 ** -digits) return value.toExponential(1).replace("e-", "e−");
    return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  /** Return a number in as few characters as three digits need: 0.0031, 12.5, 3.4k, 120M. */
  function short(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size < 0.001) return value.toExponential(0).replace("e-", "e−");
    for (const [unit, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (size >= unit) return String(Number((value / unit).toPrecision(3))) + sign;
    }
    return String(Number(value.toPrecision(3)));
  }

  /** Return a power of ten as 10⁻⁷, and other numbers as 3.2 × 10⁻⁷. */
  function power(value) {
    const [digits, exponent] = value.toExponential(1).split("e");
    const raised = String(Number(exponent)).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
    return (digits === "1.0" ? "" : `${digits} × `) + `10${raised}`;
  }

  function count(value) {
    return number(value, 0);
  }

  function percent(share) {
    if (share === null || share === undefined) return "–";
    const digits = share === 0 ? 0 : share > 0 && share < 0.001 ? 3 : share < 0.1 ? 1 : 0;
    return number(100 * share, digits) + "%";
  }

  function duration(seconds) {
    if (seconds === null || seconds === undefined) return "–";
    if (seconds < 60) return `${number(seconds, seconds < 10 ? 1 : 0)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  }

  /** Return how strongly a surprise is colored, from 0 to 1: ln 2 (one bit) is a little, 6 nats are all. */
  function surprise(nats) {
    return Math.min(1, Math.max(0, nats / 6)) ** 0.8;
  }

  /** Return the numbers of an int8 array in base64. */
  function int8(base64) {
    const bytes = atob(base64);
    return Int8Array.from(bytes, (c) => c.charCodeAt(0));
  }

  // ---- tooltips

  let tip = null;

  /** Show a tooltip below the box of an element, or above it, or, with `beside`, right or left of it. Return it. */
  function showTip(box, content, { beside = false } = {}) {
    if (!tip) document.body.append((tip = el("div", { class: "tip", role: "tooltip", id: uniqueId("tip") })));
    tip.replaceChildren(...[content].flat(Infinity));
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const right = box.left + box.width + 12, fits = right + width < innerWidth - 8;
    const wanted = beside ? (fits ? right : box.left - width - 12) : box.left + box.width / 2 - width / 2;
    const left = Math.max(8, Math.min(innerWidth - width - 8, wanted));
    const below = box.bottom + 8;
    const top = below + height > innerHeight - 8 && box.top - height - 8 > 0 ? box.top - height - 8 : below;
    tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
    return tip;
  }

  function hideTip() {
    if (tip) tip.hidden = true;
  }

  if (typeof document !== "undefined") {
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
    document.addEventListener("scroll", hideTip, { passive: true, capture: true });
  }

  /** Give an element a tooltip that hovering and keyboard focus show. `content()` returns its children. */
  function tooltip(node, content) {
    const show = () => node.setAttribute("aria-describedby", showTip(node.getBoundingClientRect(), content()).id);
    const hide = () => { node.removeAttribute("aria-describedby"); hideTip(); };
    for (const event of ["pointerenter", "focus"]) node.addEventListener(event, show);
    for (const event of ["pointerleave", "blur"]) node.addEventListener(event, hide);
    return node;
  }

  /** Return horizontal bars, one for each [label, share, text]. */
  function bars(rows) {
    return el("div", { class: "bars" }, rows.map(([label, share, text]) => [
      el("span", { class: "mono" }, label),
      el("span", { class: "bar", "aria-hidden": "true" }, el("i", { style: { "--v": share } })),
      el("span", { class: "small" }, text),
    ]));
  }

  // ---- passages

  /**
   * Return {node, paint, move}: a text of one element a character, which is one stop of the Tab key.
   *
   * Arrow keys, Home and End move within it; hovering, touching and moving show `describe(i)`, a list of children, as a
   * tooltip, which screen readers hear. `paint(f)` colors each character by f(i) = {v: 0..1, tint} or null.
   */
  function passage(characters, { label, describe = null, moved = () => {} }) {
    const live = el("span", { class: "hidden-label", "aria-live": "polite" });
    const spans = characters.map((character, i) => filled(document.createElement("span"), {}, running(character)));
    const text = el("div", { class: "passage", tabindex: "0", role: "group", "aria-label": label, dir: "auto" }, spans);
    const index = new Map(spans.map((span, i) => [span, i]));
    let at = -1;

    function show(i) {
      moved(i);
      if (!describe) return;
      const shown = showTip(spans[i].getClientRects()[0] || spans[i].getBoundingClientRect(), describe(i));
      if (document.activeElement === text) live.textContent = shown.textContent;
    }
    function move(i) {
      if (at >= 0) spans[at].classList.remove("at");
      at = Math.max(0, Math.min(spans.length - 1, i));
      spans[at].classList.add("at");
      spans[at].scrollIntoView({ block: "nearest" });
      show(at);
    }
    function leave() {
      if (at >= 0) spans[at].classList.remove("at");
      hideTip();
    }
    function spanOf(event) {
      const found = event.target.closest ? event.target.closest(".passage > span") : null;
      return found ? index.get(found) : undefined;
    }
    text.addEventListener("pointerover", (event) => {
      const i = spanOf(event);
      if (i !== undefined) show(i);
    });
    text.addEventListener("pointerleave", hideTip);
    text.addEventListener("click", (event) => {
      const i = spanOf(event);
      if (i !== undefined) move(i);
    });
    text.addEventListener("focus", () => { if (spans.length && text.matches(":focus-visible")) move(Math.max(0, at)); });
    text.addEventListener("blur", leave);
    text.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 40, ArrowUp: -40, PageDown: 400, PageUp: -400 };
      const next = event.key === "Home" ? 0 : event.key === "End" ? spans.length - 1 : at + (steps[event.key] || NaN);
      if (!spans.length || Number.isNaN(next) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      move(next);
    });
    function paint(color) {
      spans.forEach((span, i) => {
        const c = color(i);
        if (c === null || c.v === 0) span.removeAttribute("style");
        else {
          span.style.setProperty("--v", c.v.toFixed(3));
          if (c.tint) span.style.setProperty("--tint", c.tint);
        }
      });
    }
    return { node: el("div", {}, text, live), paint, move };
  }

  // ---- charts

  /** Return about `wanted` round numbers from `low` to `high`; powers of ten if `log`. */
  function ticks(low, high, wanted = 5, log = false) {
    if (log) {
      const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
      const rough = (last - first + 1) / wanted, every = [1, 2, 3, 5, 10, 20, 50, 100].find((n) => n >= rough) || 200;
      const result = [];
      for (let e = Math.ceil(first / every) * every; e <= last; e += every) result.push(Number(`1e${e}`));
      return result.length > 1 ? result : ticks(low, high, wanted).filter((t) => t > 0);
    }
    const span = high - low || Math.abs(high) || 1, rough = span / Math.max(1, wanted);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
    const result = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) result.push(k * step + 0);
    return result;
  }

  function extent(values, log) {
    let low = Infinity, high = -Infinity;
    for (const v of values) {
      if (v === null || !Number.isFinite(v) || (log && v <= 0)) continue;
      low = Math.min(low, v);
      high = Math.max(high, v);
    }
    if (low > high) return [log ? 0.1 : 0, 1];
    if (low === high) return log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
    return [low, high];
  }

  function scale(low, high, from, to, log) {
    const f = log ? Math.log : (v) => v;
    const a = f(low), b = f(high);
    return (v) => from + ((f(v) - a) / (b - a)) * (to - from);
  }

  /**
   * Return {node, update}: a line chart that fits the width of its place.
   *
   * options: {label, series: [{name, color: 1..6, points: [[x, y]], faint, dashed}], marks: [{y, name}],
   *   x: {name, log, format}, y: {name, log, format, low, high}, height, legend}
   * Hovering, touching, and the arrow keys show the values at an x.
   */
  function lineChart(options) {
    const node = el("div", { class: "chart" });
    let width = 0, at = null;

    function draw() {
      const { series, marks = [], x, y, height = 280 } = options;
      const drawn = series.map((s) => ({ ...s, points: s.points.filter(([px, py]) => Number.isFinite(px) && Number.isFinite(py) && py !== null && px !== null && !(y.log && py <= 0) && !(x.log && px <= 0)) }));
      const all = drawn.flatMap((s) => s.points);
      const formatX = x.format || short, formatY = y.format || short;
      let [x0, x1] = extent(all.map((p) => p[0]), x.log);
      let [y0, y1] = extent([...all.map((p) => p[1]), ...marks.map((m) => m.y)], y.log);
      if (y.low !== undefined) y0 = y.low;
      if (y.high !== undefined) y1 = Math.max(y0 + 1e-9, Math.min(y1, y.high));
      if (!y.log && y.low === undefined) y0 -= (y1 - y0) * 0.04;
      const yTicks = ticks(y0, y1, Math.max(2, Math.round(height / 55)), y.log);
      const left = 14 + 7 * Math.max(...yTicks.map((t) => formatY(t).length), 1);
      const markRoom = marks.length && width > 280 ? 8 + 6.4 * Math.max(...marks.map((m) => m.name.length)) : 8;
      const right = width - markRoom, top = 20, bottom = height - 24 - (x.name ? 16 : 0);
      const sx = scale(x0, x1, left, right, x.log), sy = scale(y0, y1, bottom, top, y.log);
      const inside = (v) => Math.max(top - 30, Math.min(bottom + 30, v));
      const xTicks = ticks(x0, x1, Math.max(2, Math.round((right - left) / 90)), x.log);
      const path = (points) => points.map(([px, py], i) => `${i ? "L" : "M"}${sx(px).toFixed(1)} ${inside(sy(py)).toFixed(1)}`).join("");
      const clip = uniqueId("clip");
      const hair = svg("g", { "aria-hidden": "true" });
      const image = svg("svg", { height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": options.label },
        svg("clipPath", { id: clip }, svg("rect", { x: left - 4, y: top - 6, width: Math.max(0, right - left + 8), height: bottom - top + 8 })),
        yTicks.map((t) => [
          svg("line", { class: "grid", x1: left, x2: right, y1: sy(t), y2: sy(t) }),
          svg("text", { x: left - 8, y: sy(t) + 4, "text-anchor": "end" }, formatY(t)),
        ]),
        svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
        xTicks.map((t) => svg("text", { x: sx(t), y: bottom + 18, "text-anchor": sx(t) > right - 14 ? "end" : sx(t) < left + 6 ? "start" : "middle" }, formatX(t))),
        x.name ? svg("text", { x: right, y: height - 6, "text-anchor": "end" }, x.name) : null,
        y.name ? svg("text", { x: 0, y: 10 }, y.name) : null,
        spread(marks.map((m) => ({ ...m, at: sy(m.y) })).filter((m) => m.at >= top - 4 && m.at <= bottom + 1)).map((m) => [
          svg("line", { class: "mark", x1: left, x2: right, y1: m.at, y2: m.at }),
          width > 280 ? svg("text", { x: right + 6, y: m.textAt + 4 }, m.name) : null,
        ]),
        svg("g", { "clip-path": `url(#${clip})` }, drawn.map((s) => s.points.length === 1
          ? svg("circle", { class: `series c${s.color}`, cx: sx(s.points[0][0]), cy: inside(sy(s.points[0][1])), r: 4 })
          : svg("path", { class: `series c${s.color}${s.faint ? " faint" : ""}${s.dashed ? " dashed" : ""}`, d: path(s.points) }))),
        hair,
      );
      node.replaceChildren(...[options.legend === false ? null : legend(drawn), image].filter(Boolean));
      const xs = [...new Set(all.map((p) => p[0]))].sort((a, b) => a - b);

      function show(position) {
        if (!xs.length) return;
        at = Math.max(0, Math.min(xs.length - 1, position));
        const value = xs[at], px = sx(value), rows = [];
        hair.replaceChildren(svg("line", { class: "hair", x1: px, x2: px, y1: top, y2: bottom }));
        for (const s of drawn) {
          const point = nearest(s.points, value);
          if (!point || Math.abs(sx(point[0]) - px) > Math.max(12, (right - left) / 24)) continue;
          hair.append(svg("circle", { class: `series c${s.color}`, cx: sx(point[0]), cy: inside(sy(point[1])), r: 4 }));
          rows.push(el("div", {}, el("i", { class: `dot c${s.color}` }), el("strong", {}, (y.read || formatY)(point[1])), ` ${s.name}`));
        }
        const box = image.getBoundingClientRect();
        const heading = el("div", { class: "soft" }, `${x.name || "x"} ${(x.read || formatX)(value)}`);
        const place = { left: box.left + px - 1, width: 2, top: box.top + top, bottom: box.top + top - 8 };
        const tipNode = showTip(place, [heading, rows], { beside: true });
        live.textContent = tipNode.textContent;
      }
      image.addEventListener("pointermove", (event) => {
        const px = event.clientX - image.getBoundingClientRect().left;
        let best = 0;
        xs.forEach((v, i) => { if (Math.abs(sx(v) - px) < Math.abs(sx(xs[best]) - px)) best = i; });
        show(best);
      });
      image.addEventListener("pointerleave", () => { hair.replaceChildren(); hideTip(); });
      node.onkeydown = (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        show(at === null ? 0 : at + step);
      };
      node.onblur = () => { hair.replaceChildren(); hideTip(); };
      node.append(live);
    }
    const live = el("span", { class: "hidden-label", "aria-live": "polite" });
    node.tabIndex = 0;
    node.setAttribute("role", "group");
    node.setAttribute("aria-label", `${options.label}; arrow keys read the values`);
    new ResizeObserver(() => {
      const now = Math.floor(node.clientWidth);
      if (now && now !== width) { width = now; draw(); }
    }).observe(node);
    return { node, update(changes) { options = { ...options, ...changes }; at = null; if (width) draw(); } };
  }

  /** Move the texts of marks apart so that none covers another. */
  function spread(marks, room = 14) {
    marks.sort((a, b) => a.at - b.at);
    let last = -Infinity;
    for (const mark of marks) last = mark.textAt = Math.max(mark.at, last + room);
    return marks;
  }

  function nearest(points, x) {
    let best = null;
    for (const point of points) if (!best || Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
    return best;
  }

  /** Return a legend of [{name, color, dashed, faint}]; null for one series, which needs none. */
  function legend(series) {
    if (series.length < 2) return null;
    return el("ul", { class: "legend" }, series.map((s) => el("li", {},
      el("i", { class: `c${s.color}${s.dashed ? " dashed" : ""}${s.faint ? " faint" : ""}` }), s.name)));
  }

  /** Return a table. `columns` are [name, "number" or ""]; a row is a list of strings or nodes. */
  function table(caption, columns, rows) {
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, el("table", {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, columns.map(([name, kind]) => el("th", { scope: "col", class: kind || null }, name)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, i) => i === 0
        ? el("th", { scope: "row", class: columns[i][1] || null }, cell)
        : el("td", { class: columns[i][1] || null }, cell)))))));
  }

  return {
    data, el, svg, uniqueId, visible, spoken, harmless, framed, running, codePoint, number, short, power, count, percent, duration,
    surprise, int8, showTip, hideTip, tooltip, bars, passage, ticks, lineChart, legend, table,
  };
})();

if (typeof module !== "undefined") module.exports = Page;
