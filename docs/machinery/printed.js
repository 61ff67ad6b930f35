// A formula or a table wider than the column shrinks until it fits.
addEventListener("load", async () => {
  await document.fonts.ready;
  for (const [outer, inner] of [[".formula", ".katex-display > .katex"], [".table-wrapper", "table"]]) {
    for (const box of document.querySelectorAll(outer)) {
      const content = box.querySelector(inner);
      if (!content || !box.clientWidth) continue;
      const ratio = box.clientWidth / Math.max(box.scrollWidth, content.scrollWidth);
      if (ratio < 1) content.style.fontSize = `${ratio * parseFloat(getComputedStyle(content).fontSize) * 0.99}px`;
    }
  }
});
