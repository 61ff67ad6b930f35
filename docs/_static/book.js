// What scrolls sideways can be reached and scrolled with the keyboard; Sphinx's captions get the level
// that their role asks for.  A chapter links to its notebook.
document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll("article pre, .formula, .table-wrapper")) {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
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
