// Opens every page of the built book in a headless browser, at two widths and in both themes:
// no console error, no request beyond files, every inner link live, and nothing serious for axe;
// each slider of an interactive picture obeys a key; the search and the index lead into the chapters.
//
//   node browser.mjs FOLDER [PAGE ...]     (make book-check installs what it needs)
import { readFileSync, readdirSync, existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const require = createRequire(resolve("package.json"));
const puppeteer = require("puppeteer-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const folder = resolve(process.argv[2]);

const pages = (directory) =>
  readdirSync(directory, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? (entry.name.startsWith("_") ? [] : pages(join(directory, entry.name)))
      : entry.name.endsWith(".html") ? [join(directory, entry.name)] : []);
const chosen = process.argv.length > 3 ? process.argv.slice(3).map((page) => resolve(page)) : pages(folder);

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
let faults = 0;
const tell = (page, what) => { faults += 1; console.log(`${relative(folder, page)}: ${what}`); };
const ids = new Map();  // file -> the ids in it

const idsOf = (file) => {
  if (!ids.has(file)) {
    const text = readFileSync(file, "utf8");
    ids.set(file, new Set([...text.matchAll(/\s(?:id|name)="([^"]+)"/g)].map((match) => match[1])));
  }
  return ids.get(file);
};

for (const path of chosen) {
  for (const width of [390, 1280]) {
    for (const theme of ["light", "dark"]) {
      const page = await browser.newPage();
      const where = `${width} px, ${theme}`;
      page.on("console", (m) => m.type() === "error" && tell(path, `${where}: console: ${m.text()}`));
      page.on("pageerror", (error) => tell(path, `${where}: error: ${error.message}`));
      page.on("request", (request) => {
        if (!/^(file|data|blob|about):/.test(request.url())) tell(path, `${where}: asks for ${request.url()}`);
      });
      await page.setViewport({ width, height: 900 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
      await page.goto(pathToFileURL(path).href, { waitUntil: "load" });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (wide > 1) tell(path, `${where}: ${wide} px wider than the window`);
      const tables = await page.evaluate(() =>
        [...document.querySelectorAll(".table-wrapper")].filter((table) => table.scrollWidth > table.clientWidth + 1).length);
      if (width === 1280 && tables) tell(path, `${where}: ${tables} tables wider than their column`);
      await page.evaluate(axe);
      const result = await page.evaluate(() => axe.run(document.querySelector("article") || document.body, {
        resultTypes: ["violations"], preload: false, iframes: false,  // pages in frames are visited, too
      }));
      for (const violation of result.violations) {
        if (["serious", "critical"].includes(violation.impact)) {
          tell(path, `${where}: axe: ${violation.id} (${violation.nodes.length}): ${violation.nodes[0].html.slice(0, 120)}`);
        }
      }
      if (width === 1280 && theme === "light") {
        const links = await page.evaluate(() => [...document.querySelectorAll("a[href]")].map((a) => a.href));
        for (const link of new Set(links.filter((link) => link.startsWith("file:")))) {
          const [file, anchor] = link.split("#");
          const target = fileURLToPath(file);
          if (!existsSync(target)) tell(path, `dead link ${relative(folder, target)}`);
          else if (anchor && target.endsWith(".html") && !idsOf(target).has(decodeURIComponent(anchor)))
            tell(path, `dead link ${relative(folder, target)}#${anchor}`);
        }
        if (path === join(folder, "search.html")) {
          await page.goto(`${pathToFileURL(path).href}?q=forget+gates`, { waitUntil: "load" });
          const found = await page.$$eval("#places li", (items) => items.map((li) => [li.querySelector("a").href, li.textContent]));
          if (found.length < 5) tell(path, `${found.length} places with "forget gates"`);
          for (const [link, words] of found) {
            const { pathname, hash } = new URL(link);
            if (!idsOf(decodeURIComponent(pathname)).has(decodeURIComponent(hash.slice(1)))) tell(path, `finds no place: ${link}`);
            if (words.includes("\\mathrm")) tell(path, `repeats a formula as TeX: ${words}`);
          }
          await page.goto(`${pathToFileURL(path).href}?q=gguf`, { waitUntil: "load" });
          const text = await page.$eval("#places", (list) => list.textContent);
          if (!text.includes(" (manual)")) tell(path, "finds nothing in the manual");
        }
        if (relative(folder, path).startsWith("chapters")) {
          const bare = await page.$$eval("article h2", (all) => all.filter((h) => !h.querySelector(".section-number")).length);
          if (bare) tell(path, `${bare} sections without a number`);
        }
        if (path === join(folder, "genindex.html") && links.filter((link) => /chapters\/.*#index-/.test(link)).length < 100)
          tell(path, "the index does not lead to the chapters");
        if (await page.$(".slide")) {
          await page.keyboard.press("ArrowRight");
          await page.keyboard.press("ArrowRight");
          await page.keyboard.press("ArrowLeft");
          const place = await page.evaluate(() => location.hash);
          if (place !== "#slide-2") tell(path, `the arrow keys lead to ${place}`);
          const full = await page.evaluate(() => [...document.querySelectorAll(".slide")].flatMap((slide) => {
            const body = slide.querySelector(".body");
            return body.scrollHeight > body.clientHeight + 1 || body.scrollWidth > body.clientWidth + 1 ? [slide.id] : [];
          }));
          if (full.length) tell(path, `more than fits: ${full.join(", ")}`);
        }
        if (await page.$(".katex-error")) tell(path, "a formula is not rendered");
        const sentence = (input) => input.closest(".interactive").querySelector("[role=status]").textContent;
        for (const input of await page.$$(".interactive input")) {
          const before = await input.evaluate(sentence);
          await input.focus();
          await page.keyboard.press(await input.evaluate((e) => (e.value === e.min ? "ArrowRight" : "ArrowLeft")));
          if ((await input.evaluate(sentence)) === before) tell(path, `a key does not move ${await input.evaluate((e) => e.name)}`);
        }
      }
      await page.close();
    }
  }
}
await browser.close();
console.log(`${chosen.length} pages, ${faults} faults`);
process.exit(faults ? 1 : 0);
