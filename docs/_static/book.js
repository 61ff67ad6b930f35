// What scrolls sideways can be reached and scrolled with the keyboard; Sphinx's captions get the level
// that their role asks for.
document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll("article pre, .formula, .table-wrapper")) {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
  }
  for (const caption of document.querySelectorAll("p.caption[role=heading]")) caption.ariaLevel = "2";
});
