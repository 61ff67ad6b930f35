// What scrolls sideways can be reached and scrolled with the keyboard; Sphinx's captions get the level
// that their role asks for.  A chapter links to its notebook.  KaTeX writes a formula three times: for
// the eye, for a screen reader, and as TeX; an excerpt of the search has it once.  The search leads to sections,
// which docs/machinery/section_search.py lists.
document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll("article pre, .formula, .table-wrapper")) {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
  }
  if (typeof Search !== "undefined") {
    const plain = Search.htmlToText;
    Search.htmlToText = (text, anchor) => {
      const page = new DOMParser().parseFromString(text, "text/html");
      for (const copy of page.querySelectorAll(".katex-html, .katex annotation, svg")) copy.remove();
      return plain(page.documentElement.outerHTML, anchor);
    };
    const pagesWith = Search.performTermsSearch;
    Search.performTermsSearch = (terms, excluded) => {
      const best = sectionsWith(terms);
      return pagesWith(terms, excluded).map(([page, title, , ...rest]) => {
        const [anchor, section] = best.get(page) ?? ["", ""];
        return [page, anchor ? `${title} > ${section}` : title, anchor, ...rest];
      });
    };
  }
  const chapter = location.pathname.match(/\/chapters\/([\w-]+)\.html$/);
  if (chapter) {
    const link = document.createElement("a");
    link.href = `../notebooks/${chapter[1]}.ipynb`;
    link.download = "";
    link.textContent = "This chapter as a notebook";
    const line = document.createElement("p");
    line.append(link);
    document.querySelector("article h1")?.after(line);
  }
  for (const caption of document.querySelectorAll("p.caption[role=heading]")) caption.ariaLevel = "2";
});

// The section of each page that contains the most of the terms, and contains them most often: its anchor and title.
// A section that explains is preferred to one that repeats.
const REPEATING = ["Summary", "Equations", "History", "Further reading", "Exercises", "Sources"];

function sectionsWith(terms) {
  const found = new Map();
  for (const term of terms) {
    const known = Object.hasOwn(SECTIONS.stems, term);
    for (const stem of known ? [term] : Object.keys(SECTIONS.stems).filter((stem) => stem.includes(term))) {
      const list = SECTIONS.stems[stem];
      for (let i = 0; i < list.length; i += 2) {
        const [different, total] = found.get(list[i]) ?? [new Set(), 0];
        found.set(list[i], [different.add(term), total + list[i + 1]]);
      }
    }
  }
  const best = new Map(), scores = new Map();
  for (const [number, [different, total]] of found) {
    const [page, anchor, title] = SECTIONS.sections[number];
    const score = 1e6 * different.size + total - (REPEATING.includes(title) ? 1e5 : 0);
    if (score > (scores.get(page) ?? 0)) {
      scores.set(page, score);
      best.set(page, [anchor, title]);
    }
  }
  return best;
}
