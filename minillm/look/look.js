"use strict";
(() => {
const data = JSON.parse(document.getElementById("numbers").textContent);
const page = document.getElementById("look");
const svgSpace = document.querySelector("svg").namespaceURI;
const { text, source } = data.tokens;
const translator = source.length > 0;

// --- elements ------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = tag.startsWith("svg:")
    ? document.createElementNS(svgSpace, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function section(title, explanation) {
  const element = make("section", {}, make("h2", {}, title), make("p", { class: "muted" }, explanation));
  page.append(element);
  return element;
}

function digits(value, most = 3) {
  if (value === null || value === undefined) return "none";
  return value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : String(+value.toPrecision(most));
}
const percent = (p) => (p >= 0.0995 ? `${(100 * p).toFixed(0)}%` : p >= 0.001 ? `${(100 * p).toFixed(1)}%` : "<0.1%");
const quoted = (token) => make("code", {}, `‘${token}’`);

// --- the chosen token ----------------------------------------------------------------------------

const chosen = { text: Math.max(0, data.predictions.findIndex((row) => row !== null)), source: 0 };
if (text.length > 3) chosen.text = Math.floor(text.length * (translator ? 0.5 : 0.75));
let pinned = null;
const redraws = [];
let waiting = false;

function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; redraws.forEach((draw) => draw()); });
}

const choose = (side, at) => { if (chosen[side] !== at) { chosen[side] = at; redraw(); } };

function pin(side, at) {
  const same = pinned && pinned.side === side && pinned.at === at;
  pinned = same ? null : { side, at };
  choose(side, at);
}

document.addEventListener("keydown", (event) => { if (event.key === "Escape") pinned = null; });
const here = (side = "text") => Math.min(chosen[side === "inputs" ? "text" : side], data.tokens[side].length - 1);

// Tokens that can be chosen.  look(at) -> {level, note, shade, none, mark}: a colour from 0 to 1, and
// what it means in words.
function strip(side, name, look, { extra = null, still = false, column = false } = {}) {
  const tokens = extra === null ? data.tokens[side] : [...data.tokens[side], extra];
  const items = tokens.map((token, at) => make(still ? "span" : "button", {
    class: "token",
    type: still ? null : "button",
    onclick: () => { if (!still) pin(side, at); },
    onfocus: () => choose(side, at),
    onpointerenter: (event) => { if (!still && !pinned && event.pointerType === "mouse") choose(side, at); },
  }, token));
  function onkeydown(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -items.length, End: items.length };
    if (column) Object.assign(steps, { ArrowUp: -1, ArrowDown: 1 });
    if (still || !(event.key in steps)) return;
    const next = Math.max(0, Math.min(items.length - 1, items.indexOf(document.activeElement) + steps[event.key]));
    items[next].focus();
    event.preventDefault();
  }
  redraws.push(() => items.forEach((item, at) => {
    const { level = 0, note = "", shade = null, none = false, mark = false } = look(at);
    const isChosen = !still && at === Math.min(chosen[side], items.length - 1);
    item.className = `token${none ? " none" : ""}${isChosen ? " chosen" : ""}${mark ? " mark" : ""}`;
    item.style.setProperty("--level", `${(100 * Math.max(0, Math.min(1, level))).toFixed(1)}%`);
    if (shade) item.style.setProperty("--shade", `var(--${shade})`);
    item.title = note;
    if (still) return;
    item.setAttribute("aria-label", `${tokens[at]}${note ? `, ${note}` : ""}`);
    item.setAttribute("aria-pressed", isChosen);
    item.tabIndex = isChosen ? 0 : -1;
  }));
  return make("div", { class: column ? "column" : "strip", role: "group", "aria-label": name, onkeydown }, ...items);
}

function scale(low, high, both = false) {
  return make("div", { class: "scale" }, make("span", {}, low), make("i", { class: both ? "both" : null }), make("span", {}, high));
}

function bars(rows) {
  return make("ol", { class: "bars" }, ...rows.map(([label, share, value, right]) => make("li", { class: right ? "right" : null },
    make("span", { class: "label" }, label),
    make("span", { class: "bar" }, make("i", { style: `width:${(100 * Math.min(1, share)).toFixed(2)}%` })),
    make("span", {}, value))));
}

function choices(name, labels, start, set) {
  return make("fieldset", {}, make("legend", {}, name), ...labels.map((label, at) => make("label", {},
    make("input", { type: "radio", name, checked: at === start, onchange: () => { set(at); redraw(); } }), label)));
}

// --- matrices as pictures ------------------------------------------------------------------------

const bytes = (packed) => Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));

// rows x columns of levels from -1 to 1; drawn again when the theme changes.
function picture(rows, columns, level, name) {
  const canvas = make("canvas", { width: columns, height: rows, role: name ? "img" : null, "aria-label": name });
  canvas.draw = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (which) => style.getPropertyValue(which).split(",").map(Number);
    const [hot, cool] = [colour("--hot-rgb"), colour("--cool-rgb")];
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, at += 4) {
        const value = level(row, column);
        image.data.set(value < 0 ? cool : hot, at);
        image.data[at + 3] = 255 * Math.min(1, Math.abs(value));
      }
    }
    context.putImageData(image, 0, 0);
  };
  canvas.draw();
  themed.push(canvas);
  return canvas;
}
const themed = [];
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => themed.forEach((canvas) => canvas.draw()));

// --- the title -----------------------------------------------------------------------------------

function summary(part) {
  if (part.mean === null) return "there is no loss to measure";
  const bits = `${digits(part.mean / Math.LN2)} bits per ${data.unit}`;
  return `mean loss ${digits(part.mean)} nats = ${bits}, perplexity ${digits(Math.exp(part.mean))}`;
}

page.replaceChildren(
  make("h1", {}, `A look inside ${data.name}`),
  make("p", {}, make("code", {}, data.model)),
  make("p", {}, summary(data)),
  ...(data.beside ? [make("p", {}, "beside it ", make("code", {}, data.beside.model), `: ${summary(data.beside)}`)] : []),
  ...data.notes.map((note) => make("p", { class: "muted" }, `Note: ${note}.`)),
  make("p", { class: "muted" }, `Point at a ${data.unit}, tap it, or use Tab and the arrow keys. A click keeps the choice; `
    + "a second click or Escape lets it go."),
);

// --- predictions ---------------------------------------------------------------------------------

function predictions() {
  const how = data.hidden ? `Each ${data.unit} was hidden in turn, and predicted from all others.`
    : translator ? `Each ${data.unit} of the target is predicted from the source and from the target before it.`
      : `Each ${data.unit} is predicted from those before it.`;
  const part = section("What was predicted, and what came",
    `${how} The colour is the loss, −ln p of what came: the stronger, the less expected.`);
  const guess = Math.log(data.vocabulary);
  const left = make("div", {}, scale("0 nats: certain", `${digits(guess)} nats = ln ${data.vocabulary}: a blind guess`));
  const byLoss = (of) => (at) => {
    const loss = of.losses[at];
    if (at === text.length) return { note: "what comes next", none: true };
    return loss === null || loss === undefined ? { none: true, note: "not predicted" }
      : { level: loss / guess, note: `loss ${digits(loss)} nats` };
  };
  const last = data.predictions[text.length] ? "…" : null;
  if (translator) {
    left.append(make("h3", {}, "source"), strip("source", "source", () => ({}), { still: true }), make("h3", {}, "target"));
  }
  if (data.beside) left.append(make("h3", {}, data.name));
  left.append(strip("text", "text, by loss", byLoss(data), { extra: last }));
  if (data.beside) {
    const other = data.beside.name;
    left.append(make("h3", {}, other), strip("text", `loss of ${other}`, byLoss(data.beside), { extra: last }));
    left.append(make("h3", {}, "difference"), scale(`${data.name} is better`, `${other} is better`, true),
      strip("text", "difference of the losses", (at) => {
        const [mine, other] = [data.losses[at], data.beside.losses[at]];
        if (mine == null || other == null) return { none: true, note: "not predicted by both" };
        const more = mine - other;
        return { level: Math.abs(more) / 2, shade: more < 0 ? "cool" : "hot", note: `${digits(more)} nats` };
      }));
  }
  const panel = make("div", { class: "columns" });
  part.append(data.beside ? left : make("div", { class: "columns" }, left, panel), data.beside ? panel : "");
  redraws.push(() => {
    const at = chosen.text;
    panel.replaceChildren(...[data, data.beside].filter(Boolean).map((of) => distribution(of, at)));
  });
}

function distribution(of, at) {
  const box = make("div", {}, data.beside ? make("h3", {}, of.name) : "");
  const row = of.predictions[at];
  if (!row) {
    box.append(make("p", {}, "Nothing predicts ", quoted(text[at]), data.hidden ? "." : ": it is where the reading begins."));
    return box;
  }
  const before = translator || data.hidden ? "" : text.slice(Math.max(0, at - 12), at).join(data.unit === "character" ? "" : " ");
  const head = [];
  if (before) head.push("After ", quoted(`${at > 12 ? "…" : ""}${before}`), " ");
  if (at === text.length) head.push("nothing has come yet. The model expects:");
  else head.push(data.hidden ? "Hidden: " : before ? "came " : "There came ", quoted(text[at]), ". The model expected:");
  box.append(make("p", {}, ...head));
  const rows = row.top.map(([label, p], place) => [label, p, percent(p) + (place === row.at ? " came" : ""), place === row.at]);
  if (row.at === -1) rows.push([text[at], row.p, `${percent(row.p)} came`, true]);
  box.append(bars(rows));
  const facts = [];
  if (row.p !== undefined) {
    const guess = row.rank === 1 ? "the first guess" : `guess number ${row.rank}`;
    facts.push(`loss −ln ${digits(row.p)} = ${digits(of.losses[at])} nats; ${guess}.`);
  }
  if (of.contexts && of.contexts[at] !== null) facts.push(`The longest context known: ${contextOf(of, at)}.`);
  if (facts.length) box.append(make("p", { class: "muted" }, facts.join(" ")));
  return box;
}

function contextOf(of, at) {
  const found = of.contexts[at];
  if (!found) return `none, so the frequency of each ${data.unit} decides`;
  const begin = at - found;
  const words = text.slice(Math.max(0, begin), at).join(data.unit === "character" ? "" : " ");
  return `${begin < 0 ? "(start) " : ""}${words}, ${found} ${data.unit}${found > 1 ? "s" : ""}`;
}

// --- the contexts of an n-gram model -------------------------------------------------------------

function contexts(of) {
  const part = section(`Contexts found by ${of.name}`, "An n-gram model looks up the longest context that it has "
    + `counted. The colour is its length; a frame marks the context of the chosen ${data.unit}.`);
  const most = Math.max(1, ...of.contexts);
  part.append(scale("none", `${most} ${data.unit}s`));
  part.append(strip("text", "length of the context", (at) => {
    const found = of.contexts[at];
    const begin = chosen.text - (of.contexts[chosen.text] ?? 0);
    return { level: (found ?? 0) / most, note: `${found ?? 0} ${data.unit}s of context`, mark: at >= begin && at < chosen.text };
  }, { extra: data.predictions[text.length] ? "…" : null }));
}

// --- attention -----------------------------------------------------------------------------------

function attention() {
  const part = section("Attention", "Each token gathers from others; the weights of one token sum to 1. One picture for "
    + "each head of each layer: a row for each token that looks, a column for each that it looks at; the strongest colour "
    + "is the largest weight of the row.");
  let set = 0;
  const parts = data.attention.map((of) => view(of));
  if (parts.length > 1) part.append(choices("from where to where", data.attention.map((of) => of.name), 0, (at) => { set = at; }));
  part.append(...parts);
  redraws.push(() => parts.forEach((element, at) => { element.hidden = at !== set; }));
}

function view(of) {
  const [queries, keys] = [data.tokens[of.queries].length, data.tokens[of.keys].length];
  const layers = of.weights.map((layer) => layer.map(bytes));
  const heads = layers[0].length;
  if (heads > 1) {
    layers.forEach((layer) => layer.push(
      Float32Array.from(layer[0], (_, at) => layer.slice(0, heads).reduce((sum, head) => sum + head[at], 0) / heads)));
  }
  let layer = layers.length > 2 ? layers.length - 2 : layers.length - 1;
  let head = heads > 1 ? heads : 0;
  const weight = (row, column) => layers[layer][head][row * keys + column] / 255;
  const called = (l, h) => `layer ${l + 1}, ${h === heads ? "mean of the heads" : `head ${h + 1}`}`;
  const buttons = [];
  const grid = make("div", { class: "heads", style: `grid-template-columns: max-content repeat(${layers[0].length}, minmax(24px, 84px))` });
  if (layers.length * heads > 1) {
    grid.append(make("span", {}, "layer"), ...layers[0].map((_, h) => make("span", {}, h === heads ? "mean" : `${h + 1}`)));
    layers.forEach((ofLayer, l) => grid.append(make("span", {}, `${l + 1}`), ...ofLayer.map((values, h) => {
      const largest = Array.from({ length: queries }, (_, at) => Math.max(1, ...values.subarray(at * keys, (at + 1) * keys)));
      const onclick = () => { layer = l; head = h; redraw(); };
      const button = make("button", { type: "button", class: "head row", "aria-label": called(l, h), onclick },
        picture(queries, keys, (at, column) => values[at * keys + column] / largest[at]));
      buttons.push([button, l, h]);
      return button;
    })));
  }
  const list = make("div");
  const row = () => here(of.queries);
  const levelOf = (at) => {
    const from = row();
    let largest = 0;
    for (let key = 0; key < keys; key++) largest = Math.max(largest, weight(from, key));
    return { level: weight(from, at) / (largest || 1), none: of.causal && at > from, note: percent(weight(from, at)) };
  };
  const left = make("div");
  if (of.keys === "source" && of.queries === "text") left.append(sideBySide(row, weight, levelOf));
  else if (of.keys === "inputs") {
    left.append(make("h3", {}, "while it writes"), strip("text", "target", () => ({})));
    left.append(make("h3", {}, "it looks at"), strip("inputs", "inputs", levelOf, { still: true }));
  } else left.append(strip(of.keys, "what it looks at", levelOf));
  redraws.push(() => {
    const from = row();
    buttons.forEach(([button, l, h]) => {
      button.classList.toggle("chosen", l === layer && h === head);
      button.setAttribute("aria-pressed", l === layer && h === head);
      button.style.setProperty("--row", from / queries);
      button.style.setProperty("--part", 1 / queries);
    });
    const order = Array.from({ length: keys }, (_, key) => key).filter((key) => weight(from, key) > 0)
      .sort((a, b) => weight(from, b) - weight(from, a)).slice(0, 6);
    const rowOf = (key) => [data.tokens[of.keys][key], weight(from, key), `${percent(weight(from, key))}  at ${key + 1}`];
    list.replaceChildren(
      make("p", {}, quoted(data.tokens[of.queries][from]), ` looks at (${called(layer, head)}):`),
      bars(order.map(rowOf)));
  });
  return make("div", { class: "columns" }, make("div", {}, left, list), buttons.length ? grid : "");
}

// Source and target in two columns, with a line for each weight.
function sideBySide(row, weight, levelOf) {
  const step = 32;
  const height = step * Math.max(source.length, text.length);
  const lines = make("svg:svg", { viewBox: `0 0 100 ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  lines.style.height = `${height}px`;
  redraws.push(() => {
    const drawn = [];
    for (let to = 0; to < text.length; to++) {
      for (let from = 0; from < source.length; from++) {
        const w = weight(to, from);
        if (w < 0.04) continue;
        const strong = to === row();
        drawn.push(make("svg:line", {
          x1: 2, x2: 98, y1: step * (from + 0.5), y2: step * (to + 0.5), "vector-effect": "non-scaling-stroke",
          "stroke-width": 1 + 5 * w, "stroke-opacity": (strong ? 0.25 + 0.75 * w : 0.16 * w).toFixed(3),
        }));
      }
    }
    lines.replaceChildren(...drawn);
  });
  return make("div", {}, make("div", { class: "pair" },
    strip("source", "source", levelOf, { still: true, column: true }), lines,
    strip("text", "target", () => ({}), { column: true })));
}

// --- gradients -----------------------------------------------------------------------------------

function gradient() {
  const byText = data.gradient;
  const part = section("The gradient that reaches each token", "The backward of one loss, that of the chosen token: the "
    + "norm of dL/dx for the input vector x of each token that it was predicted from. The strongest colour is the largest norm.");
  const row = () => here();
  const largest = () => Math.max(...byText[row()]) || 1;
  const outside = (at) => (data.hidden ? at === row() : at >= row());
  const look = (at) => ({ level: byText[row()][at] / largest(), none: outside(at), note: `norm ${digits(byText[row()][at])}` });
  const words = make("p", { "aria-live": "polite" });
  const left = make("div", {}, words, strip("text", "gradient with respect to the text", look));
  redraws.push(() => words.replaceChildren("The loss of ", quoted(text[row()]), data.losses[row()] === null
    ? " is not measured: nothing predicts it." : `: ${digits(data.losses[row()])} nats. Largest norm ${digits(largest())}.`));
  const right = make("div");
  part.append(make("div", { class: "columns" }, left, right));
  if (text.length < 3) return;
  const all = Math.max(...byText.flat()) || 1;
  const level = (value) => (value > 0 ? Math.max(0, 1 + Math.log10(value / all) / 4) : 0);
  const map = make("div", { class: "matrix row" },
    picture(text.length, text.length, (r, c) => level(byText[r][c]), "the gradient of every loss by every token"));
  redraws.push(() => {
    map.style.setProperty("--row", row() / text.length);
    map.style.setProperty("--part", 1 / text.length);
  });
  left.append(make("h3", {}, "every loss at once"), make("p", { class: "muted" }, "A row for each loss, a column for each "
    + "token that it reaches; the scale is logarithmic, over four powers of ten."), map);
  right.append(make("h3", {}, "norm by distance"), make("p", { class: "muted" }, "Line: the mean over all losses. Dots: the "
    + `loss of the chosen ${data.unit}. The scale is logarithmic: a straight descent is a gradient that vanishes.`));
  right.append(byDistance(byText, row));
}

function byDistance(matrix, row) {
  const sums = [], counts = [];
  matrix.forEach((values, from) => values.forEach((value, to) => {
    const distance = Math.abs(from - to);
    if (!distance || !(value > 0)) return;
    sums[distance] = (sums[distance] ?? 0) + value;
    counts[distance] = (counts[distance] ?? 0) + 1;
  }));
  const means = sums.map((sum, distance) => sum / counts[distance]);
  const known = matrix.flat().filter((value) => value > 0);
  const top = Math.ceil(Math.log10(Math.max(...known)));
  const bottom = Math.max(top - 8, Math.floor(Math.log10(Math.min(...known))));
  const far = Math.max(2, means.length - 1);
  const box = make("div");
  function draw() {
    const [width, height, left, low] = [Math.max(260, box.clientWidth), 260, 52, 222];
    const x = (distance) => left + (width - left - 10) * ((distance - 1) / Math.max(1, far - 1));
    const y = (value) => 12 + (low - 12) * ((top - Math.log10(value)) / Math.max(1, top - bottom));
    const ticks = [];
    for (let power = bottom; power <= top; power += Math.max(1, Math.ceil((top - bottom) / 5))) {
      ticks.push(make("svg:line", { class: "grid", x1: left, x2: width - 10, y1: y(10 ** power), y2: y(10 ** power) }),
        make("svg:text", { x: left - 8, y: y(10 ** power) + 4, "text-anchor": "end" }, power < -3 ? `1e−${-power}` : digits(10 ** power)));
    }
    for (const distance of new Set([1, Math.round((far + 1) / 2), far])) {
      ticks.push(make("svg:text", { x: x(distance), y: low + 18, "text-anchor": distance === far ? "end" : "middle" }, `${distance}`));
    }
    ticks.push(make("svg:text", { x: (left + width) / 2, y: low + 36, "text-anchor": "middle" }, `${data.unit}s between`));
    const points = means.map((value, distance) => (value > 10 ** bottom ? `${x(distance).toFixed(1)},${y(value).toFixed(1)}` : null)).filter(Boolean);
    const dots = matrix[row()].map((value, to) => (to !== row() && value > 10 ** bottom
      ? make("svg:circle", { class: "dot", r: 3, cx: x(Math.abs(row() - to)), cy: y(value) }) : null));
    box.replaceChildren(make("svg:svg", { class: "chart", width, height, role: "img", "aria-label": "norm of the gradient by distance" },
      ...ticks, make("svg:path", { class: "one", d: `M${points.join("L")}` }), ...dots));
  }
  redraws.push(draw);
  return box;
}

// --- attribution ---------------------------------------------------------------------------------

function attribution() {
  const part = section("What made the prediction", "What log P of the chosen token would lose without a part: for a token, "
    + "measured with its input vector set to zero; for a head, estimated by the gradient times its result.");
  const { by_token: byToken, by_head: byHead } = data;
  const row = () => here();
  const shown = (value, values) => ({
    level: Math.abs(value) / (Math.max(...values.map(Math.abs)) || 1),
    shade: value < 0 ? "cool" : "hot",
    note: `${digits(value)} nats`,
  });
  const left = make("div", {}, make("h3", {}, "tokens"),
    strip("text", "contributions of the tokens", (at) => ({ ...shown(byToken[row()][at], byToken[row()]), none: at >= row() })));
  const heads = byHead[0][0].length;
  const grid = make("div", { class: "heads", style: `grid-template-columns: max-content repeat(${heads}, minmax(24px, 84px))` });
  redraws.push(() => {
    const values = byHead[row()];
    grid.replaceChildren(make("span", {}, "layer"), ...values[0].map((_, h) => make("span", {}, `head ${h + 1}`)),
      ...values.flatMap((ofLayer, l) => [make("span", {}, `${l + 1}`), ...ofLayer.map((value) => {
        const { level, shade } = shown(value, values.flat());
        return make("span", { class: "token", style: `--level:${(100 * level).toFixed(1)}%;--shade:var(--${shade})` }, digits(value, 2));
      })]));
  });
  part.append(scale("it hindered", "it helped", true),
    make("div", { class: "columns" }, left, make("div", {}, make("h3", {}, "heads, in nats"), grid)));
}

// --- gates and states ----------------------------------------------------------------------------

const NAMES = {
  i: "i, input gate", f: "f, forget gate", g: "g, candidate", o: "o, output gate", c: "tanh(c), cell", h: "h, output",
  r: "r, reset gate", z: "z, update gate", n: "n, candidate",
};
const LINES = ["one", "two", "three"];

function activity() {
  const names = Object.keys(data.activity[0].values);
  const gates = names.filter((name) => "ifo rz".includes(name));
  const means = gates.length ? "The lines are means over all units: 1 is open, 0 is closed. " : "";
  const part = section(gates.length ? "Gates and states" : "States", `A column for each ${data.unit}. ${means}Below, single `
    + `units: those whose output changes most from one ${data.unit} to the next.`);
  let layer = 0, name = names.includes("c") ? names.indexOf("c") : names.length - 1;
  if (data.activity.length > 1) part.append(choices("layer", data.activity.map((_, at) => `${at + 1}`), 0, (at) => { layer = at; }));
  const box = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "gates and states over the text" });
  part.append(make("div", { class: "scale" }, ...gates.map((gate, at) => make("span", { class: "key" },
    make("svg:svg", { class: "chart", width: 30, height: 10, "aria-hidden": "true" },
      make("svg:path", { class: LINES[at], d: "M0,5h30" })), NAMES[gate]))));
  part.append(box, choices("units of", names.map((each) => NAMES[each] ?? each), name, (at) => { name = at; }));
  const caption = make("p", { class: "muted" });
  const legend = make("div");
  part.append(legend, caption);
  const longest = Math.max(...text.map((token) => token.length));
  const upright = longest > 2;
  const labels = upright ? Math.min(110, 12 + 8 * longest) : 24;
  let drawn = "";
  redraws.push(() => {
    const width = box.clientWidth || 600;
    const cell = Math.max(14, Math.min(34, Math.floor((width - 60) / text.length)));
    const key = `${layer} ${name} ${cell}`;
    if (drawn !== key) { draw(cell); drawn = key; }
    const marker = box.querySelector(".here");
    const x = 50 + cell * here();
    marker.setAttribute("x", x);
    if (x < box.scrollLeft + 50 || x + cell > box.scrollLeft + width) box.scrollLeft = x - width / 2;
  });
  function draw(cell) {
    const { values, shown, units } = data.activity[layer];
    const of = values[names[name]];
    const rows = of.rows.map(bytes);
    const [left, lines, high] = [50, gates.length ? 120 : 0, 9];
    const width = left + cell * text.length + 4, mapTop = lines + labels + 8, height = mapTop + high * rows.length + 4;
    const x = (at) => left + cell * (at + 0.5);
    const parts = [];
    if (gates.length) {
      const y = (value) => 8 + (lines - 16) * (1 - value);
      for (const value of [0, 0.5, 1]) {
        parts.push(make("svg:line", { class: "grid", x1: left, x2: width, y1: y(value), y2: y(value) }));
        parts.push(make("svg:text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, `${value}`));
      }
      gates.forEach((gate, at) => {
        const points = values[gate].mean.map((value, t) => `${x(t)},${y(value).toFixed(1)}`);
        parts.push(make("svg:path", { class: LINES[at], d: `M${points.join("L")}` }));
      });
    }
    text.forEach((token, t) => {
      const label = token.length > 12 ? `${token.slice(0, 11)}…` : token;
      parts.push(make("svg:text", upright
        ? { class: "token-label", transform: `translate(${x(t) + 4} ${lines + 4}) rotate(90)` }
        : { class: "token-label", x: x(t), y: lines + 18, "text-anchor": "middle" }, label));
    });
    parts.push(make("svg:text", { x: left - 6, y: mapTop + 12, "text-anchor": "end" }, "units"));
    const canvas = picture(rows.length, text.length, (row, column) => 2 * (rows[row][column] / 255) - 1,
      `${names[name]} of single units over the text`);
    parts.push(make("svg:foreignObject", { x: left, y: mapTop, width: cell * text.length, height: high * rows.length }, canvas));
    parts.push(make("svg:rect", { class: "here", fill: "none", x: left, y: 2, width: cell, height: height - 4 }));
    const svg = make("svg:svg", { class: "chart", width, height }, ...parts);
    const at = (event) => Math.floor((event.clientX - svg.getBoundingClientRect().left - left) / cell);
    const within = (event) => at(event) >= 0 && at(event) < text.length;
    svg.addEventListener("pointermove", (event) => {
      if (!pinned && event.pointerType === "mouse" && within(event)) choose("text", at(event));
    });
    svg.addEventListener("click", (event) => { if (within(event)) pin("text", at(event)); });
    box.replaceChildren(svg);
    legend.replaceChildren(of.signed ? scale("−1", "1", true) : scale("0", "1"));
    caption.textContent = `${rows.length} of ${units} units of ${NAMES[names[name]] ?? names[name]}; the first is number ${shown[0]}.`;
  }
}

// --- the page ------------------------------------------------------------------------------------

if (data.predictions.some(Boolean)) predictions();
if (data.contexts) contexts(data);
if (data.beside && data.beside.contexts) contexts(data.beside);
if (data.attention.length) attention();
if (data.activity.length) activity();
if (data.by_token) attribution();
if (data.gradient) gradient();
redraws.forEach((draw) => draw());
addEventListener("resize", redraw);
})();
