// Arrow keys, space, Page Up and Down, Home and End move by one slide; what is too large for its slide shrinks.
addEventListener("load", async () => {
  const slides = [...document.querySelectorAll(".slide")];
  if (!slides.length) return;
  const middle = (slide) => Math.abs(slide.getBoundingClientRect().top + slide.offsetHeight / 2 - innerHeight / 2);
  const current = () => slides.reduce((best, slide, i) => (middle(slide) < middle(slides[best]) ? i : best), 0);
  const moves = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1,
    Home: -Infinity, End: Infinity };
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input") || !(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const next = Math.min(slides.length - 1, Math.max(0, current() + moves[event.key]));
    slides[next].scrollIntoView({ block: "center" });
    history.replaceState(null, "", `#${slides[next].id}`);
  });
  await document.fonts.ready;
  for (const body of document.querySelectorAll(".body")) {
    const over = () => body.scrollHeight > body.clientHeight + 1 || body.scrollWidth > body.clientWidth + 1;
    for (let size = 1; over() && size > 0.5; size -= 0.04) body.style.fontSize = `${size}em`;
  }
});
