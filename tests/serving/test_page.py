"""The page: Markdown becomes nodes without a way for a text to become markup."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import minillm.serving

PAGE = (Path(minillm.serving.__file__).parent / "page.html").read_text("utf-8")
SCRIPT = re.search(r"<script>\n(.*)</script>", PAGE, re.DOTALL)[1]
MARKDOWN = SCRIPT.partition("// --- the chat")[0]

# A document that has only what the renderer may use, and the nodes as lists.
NODE = """
class Element {
  constructor(tag) { this.tag = tag; this.children = []; }
  append(...children) { this.children.push(...children); }
}
const document = { createElement: tag => new Element(tag) };
const shown = node => typeof node === "string" ? node
  : [node.tag, ...("href" in node ? [{href: node.href, rel: node.rel}] : []),
     ...("start" in node ? [{start: node.start}] : []), ...joined(node.children.map(shown))];
function joined(nodes) {  // texts next to each other are one
  const all = [];
  for (const node of nodes) {
    if (typeof node === "string" && typeof all.at(-1) === "string") all.push(all.pop() + node);
    else if (node !== "") all.push(node);
  }
  return all;
}
const texts = JSON.parse(require("fs").readFileSync(0, "utf-8"));
"""
REL = "noopener noreferrer"


def run(program, given=None):
    """The JSON that a program for node prints."""
    if shutil.which("node") is None:
        pytest.skip("there is no node")
    command, given = ["node", "-e", program], json.dumps(given)
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rendered(*texts):
    """The nodes of each text, as [tag, {attributes}, children ...]."""
    printed = "console.log(JSON.stringify(texts.map(t => markdown(t).map(shown))))"
    return run(f"{NODE}{MARKDOWN}\n{printed}", texts)


LINES = (
    "# A *b*\n\nOne **two `x*y`** `<b>`\nline [site](https://a.b/c?d=e) 2 * 3 * 4\n"
    "- one\n- two\n  1. in\n  2. it\n\n```python\nx = 1\n\n# no heading\n```\n3. three\nafter"
)
NODES = [
    ["h1", "A ", ["em", "b"]],
    [
        *("p", "One ", ["strong", "two ", ["code", "x*y"]], " ", ["code", "<b>"], "\nline "),
        *(["a", {"href": "https://a.b/c?d=e", "rel": REL}, "site"], " 2 * 3 * 4"),
    ],
    [
        *("ul", ["li", ["p", "one"]]),
        ["li", ["p", "two"], ["ol", {"start": 1}, ["li", ["p", "in"]], ["li", ["p", "it"]]]],
    ],
    ["pre", ["code", "x = 1\n\n# no heading"]],
    ["ol", {"start": 3}, ["li", ["p", "three"]]],
    ["p", "after"],
]
ATTRIBUTES = {"href": 'https://x"onclick="alert', "rel": REL}
PLAIN = [  # texts that are shown as they are
    *("**a", "[a](https://", "![a](x.png)", "&lt;b&gt;"),
    "<img src=x onerror=alert(1)><script>alert(1)</script>",
    "[a](javascript:alert(1))",
    "[a](JavaScript://x%0aalert(1))",
    "[a](data:text/html,x)",
    "[a]( https://x)",
]


def test_markdown():
    """Also of texts that are not finished, and of hostile ones."""
    rows = [
        (LINES, NODES),
        ("```\n<script>", [["pre", ["code", "<script>"]]]),
        ('[<b>](https://x"onclick="alert)', [["p", ["a", ATTRIBUTES, "<b>"]]]),
        *((text, [["p", text]]) for text in PLAIN),
    ]
    assert rendered(*(text for text, _ in rows)) == [nodes for _, nodes in rows]


def test_long_hostile_texts_are_shown_soon():
    n = 20_000
    plain = ["[" * n, "*" * n, "a" + "`" * n, "[a](https://" * n, "> " * n]
    others = [text * n for text in ("- ", "1. ", "**a ", "*a", "`a", "# ", "  - a\n", "\n")]
    nodes = rendered(*plain, *others)
    assert nodes[: len(plain)] == [[["p", text]] for text in plain]


def test_the_page_makes_no_markup_of_texts_and_asks_no_other_server():
    ways = "innerHTML|outerHTML|insertAdjacentHTML|document.write|eval|DOMParser|style="
    assert not re.search(ways, PAGE)
    assert not re.search(r"""\b(?:src|href)=|url\(|@import|["'`]https?:""", PAGE)


def test_the_page_names_its_fields():
    for field in re.findall(r"<(?:textarea|input)[^>]*>", PAGE):
        name = re.search(r'id="(\w+)"', field)[1]
        assert "aria-label" in field or re.search(rf'<label>[^<]+<\w+ id="{name}"', PAGE)


def test_a_request_has_the_system_prompt_and_the_temperature_if_they_are_given():
    function = re.search(r"  function request\(\) \{.*?\n  \}\n", SCRIPT, re.DOTALL)[0]
    asked, program = {"role": "user", "content": "x"}, f"new Function({json.dumps(SCRIPT)});"
    for prompt, given in ((" ", ""), ("Be brief.", "0")):
        values = f"{{value: {json.dumps(prompt)}}}, temperature = {{value: {json.dumps(given)}}}"
        head = f"const model = 'm', messages = [{json.dumps(asked)}], system = {values};"
        program += f"sent.push((() => {{ {head}{function} return JSON.parse(request()) }})());"
    plain, brief = run(f"const sent = []; {program} console.log(JSON.stringify(sent))")
    assert plain == {"model": "m", "messages": [asked], "stream": True}
    messages = [{"role": "system", "content": "Be brief."}, asked]
    assert brief == {**plain, "messages": messages, "temperature": 0}
