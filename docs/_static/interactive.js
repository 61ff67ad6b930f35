// Pictures of the book that answer to sliders: the directive {interactive} of docs/machinery/pictures.py.
// Without JavaScript a page shows the still picture.  A picture is an entry of PICTURES: its height, what a
// screen reader calls it, its sliders (words, least, greatest, step, start), perhaps a hint, and a function from their values
// and the numbers of docs/pictures/NAME.json to shapes and a sentence that says the same.  A pointer over a shape
// with data-SLIDER moves that slider.
"use strict";
(() => {
const WIDTH = 440;
const INK = "currentColor", FIRST = "var(--first)", SECOND = "var(--second)";

// --- shapes --------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const element = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const text = (x, y, words, anchor = "middle", colour = INK) =>
  make("svg:text", { x, y, "font-size": 14, "text-anchor": anchor, style: `fill:${colour}` }, words);
const line = (points, colour = INK, more = {}) =>
  make("svg:polyline", { points: points.join(" "), fill: "none", stroke: colour, "stroke-width": 2, ...more });
const thin = (points, more = {}) => line(points, INK, { "stroke-width": 1, "stroke-opacity": 0.4, ...more });
const dot = (x, y, colour, r = 3) => make("svg:circle", { cx: x, cy: y, r, fill: colour });
const rectangle = (x, y, width, height, more) => make("svg:rect", { x, y, width, height, ...more });

function arrow([x0, y0], [x1, y1], colour) {
  const length = Math.hypot(x1 - x0, y1 - y0), [dx, dy] = [(x1 - x0) / length, (y1 - y0) / length];
  const corner = (side) => [x1 - 10 * dx + 5 * side * dy, y1 - 10 * dy - 5 * side * dx];
  const head = make("svg:polygon", { points: [[x1, y1], corner(1), corner(-1)].join(" "), fill: colour });
  return make("svg:g", {}, line([[x0, y0], [x1, y1]], colour), head);
}

// --- words ---------------------------------------------------------------------------------------

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const percent = (p) => `${(100 * p).toFixed(1)}%`;
const signed = (x) => String(x).replace("-", "\u2212");
const raised = (power) => signed(power).replace("\u2212", "⁻").replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
function digits(x) {  // 0.0123 or 1.2 · 10⁻³
  if (x === 0 || (Math.abs(x) >= 0.01 && Math.abs(x) < 10000)) return signed(+x.toPrecision(3));
  const [first, power] = x.toExponential(1).split("e");
  return `${signed(first)} · 10${raised(+power)}`;
}

// --- the pictures --------------------------------------------------------------------------------

const PICTURES = {
  "next-letter": {
    height: 232,
    label: "Bars of the probabilities of the most probable next characters, and of all others.",
    sliders: { temperature: ["Temperature", 0.1, 3, 0.1, 1], top: ["Top-p", 0.05, 1, 0.05, 1] },
    draw({ temperature, top }, { characters, p }) {  // p in descending order
      const powers = p.map((x) => x ** (1 / temperature)), total = sum(powers);
      let before = 0;
      const kept = powers.map((power) => {
        const keeps = before < top || top === 1;
        before += power / total;
        return keeps ? power : 0;
      });
      const share = sum(kept), q = kept.map((power) => power / share), shown = 15;
      const rest = (values) => [...values.slice(0, shown), sum(values.slice(shown))];
      const scale = [0.3, 0.6, 1].find((most) => most >= Math.max(...rest(q), ...rest(p)));
      const height = (x) => (180 * x) / scale;
      const shapes = [0, scale / 2, scale].flatMap((x) => [
        thin([[44, 200 - height(x)], [436, 200 - height(x)]]), text(40, 205 - height(x), `${100 * x}%`, "end")]);
      const names = [...characters.slice(0, shown), "others"];
      rest(q).forEach((x, k) => {
        const left = 48 + 22 * k, width = k < shown ? 17 : 50;
        const outline = { fill: "none", stroke: INK, "stroke-dasharray": "3 2" };
        shapes.push(
          rectangle(left, 200 - height(x), width, height(x), { style: `fill:${FIRST}`, "fill-opacity": 0.7 }),
          rectangle(left, 200 - height(rest(p)[k]), width, height(rest(p)[k]), outline),
          text(left + width / 2, 219, names[k]));
      });
      const perplexity = Math.exp(-sum(q.map((x) => (x > 0 ? x * Math.log(x) : 0))));
      const count = q.filter((x) => x > 0).length;
      const found = `${count === 1 ? "1 character is" : `${count} of ${p.length} characters are`} kept`;
      return [shapes, `Temperature ${temperature}, top-p ${top}: ${found}. ` +
        `The most probable one, ${characters[0]}, has ${percent(q[0])}; the perplexity is ${perplexity.toFixed(1)}. ` +
        "Dashed outlines: the model's own probabilities."];
    },
  },

  "forget-gate": {
    height: 260,
    label: "Two straight lines from 1 at 0 steps: what is left of a gradient against steps back, on a logarithmic scale.",
    sliders: {
      bias: ["Bias of the forget gate", -1, 5, 0.1, 1], a: ["Other path's factor a", 0, 0.3, 0.01, 0.18],
      k: ["Steps back", 0, 100, 1, 60],
    },
    draw({ bias, a, k }) {
      const f = 1 / (1 + Math.exp(-bias)), most = 2, least = -12;  // powers of ten
      const x = (steps) => 54 + 3.75 * steps, y = (power) => 10 + (210 * (most - power)) / (most - least);
      const shapes = [2, 0, -3, -6, -9, -12].flatMap((power) => [
        thin([[x(0), y(power)], [x(100), y(power)]]),
        text(48, y(power) + 5, power ? `10${raised(power)}` : "1", "end")]);
      for (const steps of [0, 20, 40, 60, 80, 100]) shapes.push(text(Math.min(x(steps), 426), 238, steps));
      shapes.push(text(x(50), 256, "steps back"), thin([[x(k), y(most)], [x(k), y(least)]], { "stroke-dasharray": "4 3" }));
      for (const [factor, colour, dash] of [[f, FIRST, "none"], [f + a, SECOND, "7 4"]]) {
        const slope = Math.log10(factor);  // a power is a straight line here, until it leaves the picture
        const end = Math.min(100, slope < 0 ? least / slope : slope > 0 ? most / slope : 100);
        shapes.push(line([[x(0), y(0)], [x(end), y(end * slope)]], colour, { "stroke-dasharray": dash }));
        if (k <= end) shapes.push(dot(x(k), y(k * slope), colour, 5));
      }
      const half = Math.log(0.5) / Math.log(f);
      return [shapes, `f = ${digits(f)}, and half is left after ${digits(half)} steps. After ${k} steps the gates alone ` +
        `leave ${digits(f ** k)} of the gradient (solid line); f + a = ${digits(f + a)} leaves ${digits((f + a) ** k)} (dashed).`];
    },
  },

  momentum: {
    height: 232,
    label: "A path of 25 steps on the contour lines of a long, narrow valley.",
    sliders: { mu: ["Momentum", 0, 0.98, 0.02, 0.8], rate: ["Learning rate", 0.005, 0.14, 0.005, 0.03] },
    draw({ mu, rate }) {
      const curvature = [1, 30], steps = 25;
      const loss = (theta) => sum(theta.map((x, axis) => curvature[axis] * x * x)) / 2;
      const point = ([a, b]) => [(220 + 44 * a).toFixed(1), (116 - 76 * b).toFixed(1)];
      let theta = [-4, 1], u = [0, 0], crossings = 0;
      const path = [theta];
      for (let step = 0; step < steps; step++) {
        u = u.map((velocity, axis) => mu * velocity + curvature[axis] * theta[axis]);
        const next = theta.map((x, axis) => x - rate * u[axis]);
        if (next[1] * theta[1] < 0) crossings += 1;
        path.push(theta = next);
      }
      const shapes = [0.1, 0.5, 2, 5, 9, 15, 25].map((level) => make("svg:ellipse", {
        cx: 220, cy: 116, rx: 44 * Math.sqrt(2 * level), ry: 76 * Math.sqrt((2 * level) / 30),
        fill: "none", stroke: INK, "stroke-opacity": 0.4 }));
      shapes.push(line([[212, 116], [228, 116]]), line([[220, 108], [220, 124]]));
      const near = path.filter(([a, b]) => Math.hypot(a, b) < 100).map(point);
      shapes.push(line(near, SECOND, { "stroke-width": 1.5 }), ...near.map(([x, y]) => dot(x, y, SECOND)));
      const end = loss(theta);
      return [shapes, `Momentum ${mu}, learning rate ${rate}: in ${steps} steps the loss ${end < 23 ? "falls" : "rises"} from 23 ` +
        `to ${digits(end)}, and the path crosses the floor of the valley ${crossings === 1 ? "once" : `${crossings} times`}. ` +
        `With this momentum, descent converges for rates below ${digits((2 * (1 + mu)) / 30)}.`];
    },
  },

  rotary: {
    height: 232,
    label: "Left: a query and a key as arrows, dashed before the turn. Right: their score against the distance, a wave.",
    sliders: {
      t: ["Position of the query", 0, 30, 1, 5], distance: ["Distance of the key", -20, 20, 1, 10],
      pair: ["Pair of the head", 0, 3, 1, 1],
    },
    draw({ t, distance, pair }) {
      const theta = 10000 ** (-pair / 4);  // a head of width 8
      const turned = ([a, b], angle) => [
        a * Math.cos(angle) - b * Math.sin(angle), a * Math.sin(angle) + b * Math.cos(angle)];
      const score = (at, away) => {
        const [q, k] = [turned([2, 0], at * theta), turned([1, 1], (at + away) * theta)];
        return q[0] * k[0] + q[1] * k[1];
      };
      const point = ([a, b]) => [110 + 42 * a, 116 - 42 * b];
      const x = (away) => 335 + 4.9 * away, y = (value) => 114 - 30 * value;
      const shapes = [2, Math.SQRT2].map((r) => make("svg:circle", {
        cx: 110, cy: 116, r: 42 * r, fill: "none", stroke: INK, "stroke-opacity": 0.25 }));
      for (const [name, vector, position, colour] of [["q", [2, 0], t, FIRST], ["k", [1, 1], t + distance, SECOND]]) {
        const head = turned(vector, position * theta), length = Math.hypot(...head);
        const [left, down] = point(head.map((part) => part * (1 + 0.3 / length)));
        shapes.push(thin([point([0, 0]), point(vector)], { "stroke-dasharray": "4 3" }),
          arrow(point([0, 0]), point(head), colour), text(left, down + 5, name, "middle", colour));
      }
      for (const value of [-2, 0, 2]) {
        shapes.push(thin([[x(-20), y(value)], [x(20), y(value)]]), text(x(-20) - 6, y(value) + 5, signed(value), "end"));
      }
      for (const away of [-20, 0, 20]) shapes.push(text(Math.min(x(away), 424), 214, signed(away)));
      const wave = Array.from({ length: 401 }, (_, i) => i / 10 - 20).map((away) => [x(away), y(score(t, away)).toFixed(1)]);
      shapes.push(text(x(0), 14, "score"), text(x(0), 230, "distance"), line(wave), dot(x(distance), y(score(t, distance)), INK, 6));
      return [shapes, `Pair ${pair} turns by ${digits(theta)} radians per position: the query by ${digits(t * theta)}, the key ` +
        `by ${digits((t + distance) * theta)}. At the distance ${signed(distance)} the score is ${digits(+score(t, distance).toFixed(3))}, ` +
        `wherever the query is.`];
    },
  },

  "gpt-head": {
    height: 344,
    label: "Above, a sentence with the weight of each character in percent. Below, a row of weights for each character read.",
    sliders: { at: ["Character just read", 0, 24, 1, 18], layer: ["Layer", 0, 1, 1, 0], head: ["Head", 0, 3, 1, 3] },
    hint: "Point at a character or a row, or use the sliders.",
    draw({ at, layer, head }, { text: sentence, weights }) {
      const rows = weights[layer][head], x = (s) => 8 + 17 * s, y = (t) => 62 + 11 * t, shapes = [];
      const shade = (s, top, height, weight) => rectangle(
        x(s), top, 17, height, { style: `fill:${FIRST}`, "fill-opacity": weight, stroke: INK, "stroke-opacity": 0.12 });
      const frame = (s, top, count, height) => rectangle(
        x(s), top, 17 * count, height, { fill: "none", stroke: SECOND, "stroke-width": 2 });
      const answers = (s, top, count, height, t) => rectangle(
        x(s), top, 17 * count, height, { fill: "transparent", "data-at": t });
      [...sentence].forEach((character, s) => {
        const weight = rows[at][s];  // undefined: masked
        if (weight !== undefined) shapes.push(shade(s, 24, 28, weight));
        if (weight >= 0.01) shapes.push(text(x(s) + 8.5, 18, Math.round(100 * weight)));
        const letter = text(x(s) + 8.5, 43, character.replace(" ", "·"));
        if (weight === undefined) letter.setAttribute("fill-opacity", 0.5);
        shapes.push(letter);
      });
      rows.forEach((row, t) => shapes.push(...row.map((weight, s) => shade(s, y(t), 11, weight))));
      shapes.push(frame(at, 24, 1, 28), frame(0, y(at), at + 1, 11));
      rows.forEach((_, t) => shapes.push(answers(t, 0, 1, 52, t), answers(0, y(t), rows.length, 11, t)));
      const named = (s) => s === at ? "itself" : `${sentence[s].replace(" ", "a space")} (${at - s} back)`;
      const best = rows[at].map((weight, s) => [weight, s]).sort(([a, s], [b, t]) => b - a || t - s).slice(0, 3);
      return [shapes, `Layer ${layer}, head ${head}, after reading “${sentence.slice(0, at + 1)}”. Most weight is on ` +
        `${best.map(([weight, s]) => `${named(s)}: ${percent(weight)}`).join(", ")}.`];
    },
  },
};

// --- in the page ---------------------------------------------------------------------------------

function show(place) {
  const { height, label, sliders, hint, draw } = PICTURES[place.dataset.picture];
  const numbers = JSON.parse(place.querySelector("script").textContent);
  const drawing = make("svg:svg", { viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, role: "img", "aria-label": label });
  const sentence = make("p", { role: "status" }), controls = make("div", { class: "controls" });
  const inputs = {};
  for (const [name, [words, min, max, step, value]] of Object.entries(sliders)) {
    inputs[name] = make("input", { type: "range", name, min, max, step, value, autocomplete: "off" });
    const shown = make("span", { "aria-hidden": "true" });
    inputs[name].show = () => { shown.textContent = signed(inputs[name].valueAsNumber); };
    inputs[name].addEventListener("input", redraw);
    controls.append(make("label", {}, make("span", {}, words), inputs[name], shown));
  }
  if (hint) controls.append(make("p", {}, hint));
  function redraw() {
    const entries = Object.entries(inputs);
    const [shapes, words] = draw(Object.fromEntries(entries.map(([name, input]) => [name, input.valueAsNumber])), numbers);
    entries.forEach(([, input]) => input.show());
    drawing.replaceChildren(...shapes);
    sentence.textContent = words;
  }
  drawing.addEventListener("pointerover", ({ target }) => {
    for (const [name, value] of Object.entries(target.dataset)) {
      if (inputs[name].value !== value) { inputs[name].value = value; redraw(); }
    }
  });
  redraw();
  place.querySelector(".still").hidden = true;
  place.append(controls, drawing, sentence);
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".interactive").forEach(show));
})();
