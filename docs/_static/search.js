// Finds the sections and terms of the book and of the manual (SECTIONS, docs/machinery/searching.py) that contain all
// words of the query, at the beginning of a word; a hit in a heading counts more.
"use strict";
(() => {
const MOST = 40;
const REPEATING = ["Summary", "Equations", "History", "Further reading", "Exercises", "Sources"];  // others explain
const query = new URLSearchParams(location.search).get("q") || "";
const words = (query.toLowerCase().match(/[\p{L}\p{N}]+/gu) || []).map((word) => word.replace(/(?<=..[^s])s$/, ""));
const patterns = words.map((word) => new RegExp(`(?<![\\p{L}\\p{N}])${word}`, "giu"));
const phrase = words.length > 1 ? new RegExp(patterns.map((p) => p.source).join("s?[^\\p{L}\\p{N}]+"), "iu") : null;
const hits = (pattern, text) => (text.match(pattern) || []).length;

function score(heading, title, text) {
  let sum = phrase && phrase.test(`${heading} ${text}`) ? 15 : 0;
  for (const pattern of patterns) {
    const own = 20 * hits(pattern, heading) + 5 * hits(pattern, title) + Math.min(5, hits(pattern, text));
    if (!own) return 0;
    sum += own;
  }
  // A heading that is the query, such as a term of the glossary.
  const bare = heading.replace(/^[\d.]+ /, "");
  if (REPEATING.includes(bare)) return sum / 4;
  return bare.toLowerCase().replace(/s$/, "") === query.trim().toLowerCase().replace(/s$/, "") ? sum + 100 : sum;
}

function marked(text) {
  const element = document.createElement("span");
  let end = 0;
  for (const { 0: word, index } of text.matchAll(new RegExp(patterns.map((p) => p.source).join("|"), "giu"))) {
    const mark = document.createElement("mark");
    mark.textContent = word;
    element.append(text.slice(end, index), mark);
    end = index + word.length;
  }
  element.append(text.slice(end));
  return element;
}

// The words around the phrase, or around the first word.
function excerpt(text) {
  const places = [phrase ? text.search(phrase) : -1, ...patterns.map((p) => text.search(p)), 0];
  const at = Math.max(0, places.find((place) => place >= 0) - 70);
  const begin = at && text.indexOf(" ", at) + 1, end = text.lastIndexOf(" ", begin + 200);
  if (begin + 200 >= text.length) return (begin ? "… " : "") + text.slice(begin);
  return `${begin ? "… " : ""}${text.slice(begin, end)} …`;
}

const found = words.length ? SECTIONS.flatMap(([page, title, sections]) =>
  sections.map(([id, heading, text]) => ({ page, title, id, heading, text, points: score(heading, title, text) })))
  .filter(({ points }) => points > 0).sort((a, b) => b.points - a.points) : [];
const shown = found.slice(0, MOST);
const count = found.length === 1 ? "One place" : `${found.length} places`;
document.getElementById("found").textContent = !words.length ? "Type words into the field of the sidebar."
  : `${count} with “${query}”${found.length > MOST ? `; the first ${MOST}:` : "."}`;
document.getElementById("places").append(...shown.map(({ page, title, id, heading, text }) => {
  const link = document.createElement("a"), item = document.createElement("li"), more = document.createElement("p");
  link.href = `${page}?highlight=${encodeURIComponent(words.join(" "))}#${id}`;
  link.append(heading);
  more.append(marked(excerpt(text)));
  const manual = page.startsWith("manual/") ? " (manual)" : "";
  item.append(link, heading === title ? manual : ` in ${title}${manual}`, more);
  return item;
}));
const field = document.querySelector("input[name=q]");
if (field) field.value = query;
})();
