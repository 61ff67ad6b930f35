"""The interactive pictures of docs/_static/interactive.js, the deep tests in a real browser."""

import json
import re
import runpy
import sys
from math import exp
from pathlib import Path

import numpy as np
import pytest
from browser import document, needs_chromium

from minillm import ops
from minillm.decoding.sampling import next_probabilities

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = DOCS / "pictures"
sys.path.insert(0, str(DOCS / "machinery"))

from svgs import with_numbers  # noqa: E402  (the line above says where it is)

SCRIPT = (DOCS / "_static/interactive.js").read_text()
NAMES = re.findall(r"^  \"?([\w-]+)\"?: \{\n    height:", SCRIPT, re.MULTILINE)
LETTERS, HEADS = (
    json.loads((PICTURES / f"{n}.json").read_text()) for n in ("next-letter", "gpt-head")
)


def shown_in():
    """The page of each directive."""
    found = {}
    for page in sorted(DOCS.glob("*/*.md")):
        for name in re.findall(r"\{interactive\} (.+)", page.read_text()):
            found[name] = page
    return found


def test_each_picture_is_in_a_page_and_each_page_has_its_picture():
    assert sorted(shown_in()) == sorted(NAMES)
    assert all((PICTURES / f"{name}.svg").exists() for name in NAMES)


def test_the_script_asks_for_nothing():
    assert re.findall(r"\w+://[^\"]*", SCRIPT) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"\bfetch\b|XMLHttpRequest|\bimport\b|\.src\b|innerHTML", SCRIPT)
    assert SCRIPT.count("\n") < 400


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_the_still_picture_and_has_the_numbers(name):
    markup = with_numbers(PICTURES / f"{name}.svg", "a < b")
    still, _, script = markup.partition('<script type="application/json">')
    assert f'data-picture="{name}"' in still
    assert 'role="img" aria-label="a &lt; b"' in still
    text, end = script.split("</script>")
    assert end == "\n</div>\n"  # no other end of a script in the numbers
    assert json.loads(text) == {"next-letter": LETTERS, "gpt-head": HEADS}.get(name)


def test_the_chapter_quotes_the_distribution():
    p = np.array(LETTERS["p"])
    assert (np.diff(p) <= 0).all()
    assert p.sum() == pytest.approx(1, abs=1e-4)
    chapter = " ".join((DOCS / "chapters/14-gpt.md").read_text().split())
    hot = next_probabilities(np.log(p), 2)
    first, others, heated = (f"{100 * part.sum():.0f}%" for part in (p[:15], p[15:], hot[15:]))
    assert f"characters share {first}. Each of the {len(p) - 15} others" in chapter
    assert f"they get {others}, and {heated} at temperature 2" in chapter
    cold, warm = (next_probabilities(np.log(p), tau, top_p=0.85) > 0 for tau in (1, 2))
    assert cold.sum() == 15
    assert warm.sum() == 15 + 10


@pytest.mark.deep
def test_the_distribution_is_the_model_s(monkeypatch):
    monkeypatch.syspath_prepend(str(PICTURES))
    characters, p = runpy.run_path(str(PICTURES / "next-letter.py"))["distribution"]()
    assert characters == LETTERS["characters"]
    np.testing.assert_allclose(p, LETTERS["p"], rtol=1e-3)


def test_the_weights_are_causal_and_the_chapter_quotes_them():
    assert "layer 0, head 3" in (PICTURES / "gpt-head.svg").read_text()  # as the sliders start
    text = HEADS["text"]
    for head in (head for layer in HEADS["weights"] for head in layer):
        assert [len(row) for row in head] == list(range(1, len(text) + 1))
        np.testing.assert_allclose([sum(row) for row in head], 1, atol=0.02)
    row = HEADS["weights"][0][3][18]
    assert text[:19].endswith("by the ")
    assert text[int(np.argmax(row))] == "y"
    assert max(row) > 0.9
    assert "almost all weight is on the y of" in (DOCS / "chapters/14-gpt.md").read_text()


@pytest.mark.deep
def test_the_weights_are_the_model_s(monkeypatch):
    """Roughly: 600 steps differ with the instruction set."""
    monkeypatch.syspath_prepend(str(PICTURES))
    weights = runpy.run_path(str(PICTURES / "gpt-head.py"))["attention"]()
    row = weights[0, 3, 18, :19]
    np.testing.assert_allclose(row, HEADS["weights"][0][3][18], atol=0.2)
    assert row.argmax() == 13


# --- what the sentences below the pictures have to say --------------------------------------------


def near(found: str, value: float) -> None:
    """``1.2 · 10⁻³`` or 0.012 of a sentence, and the number that it should be."""
    digits = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻\N{MINUS SIGN}", "0123456789--")
    assert float(found.translate(digits).replace(" · 10", "e")) == pytest.approx(value, rel=0.05)


NUMBER = r"([-\N{MINUS SIGN}]?[\d.]*\d(?: · 10[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)?)"


def numbers(pattern: str, sentence: str) -> tuple[str, ...]:
    match = re.search(pattern.replace("#", NUMBER), sentence)
    assert match, sentence
    return match.groups()


def says_letters(sentence, temperature, top):
    q = next_probabilities(np.log(LETTERS["p"]), temperature, top_p=top)
    perplexity = np.exp(-(q[q > 0] * np.log(q[q > 0])).sum())
    kept = "1 character is" if top < 0.1 else f"{(q > 0).sum()} of 103 characters are"
    assert f": {kept} kept." in sentence
    assert f"one, s, has {100 * q[0]:.1f}%; the perplexity is {perplexity:.1f}." in sentence


def says_gate(sentence, bias, a, k):
    f = 1 / (1 + exp(-bias))
    pattern = r"f = #, .* after # steps\. After \d+ .* leave # .* f \+ a = # leaves # "
    found = numbers(pattern, sentence)
    expected = (f, np.log(0.5) / np.log(f), f**k, f + a, (f + a) ** k)
    for each in zip(found, expected, strict=True):
        near(*each)


def says_momentum(sentence, mu, rate):
    path, curvature = [np.array([-4.0, 1.0])] * 2, np.array([1, 30])
    for _ in range(25):  # without a velocity
        path.append((1 + mu - rate * curvature) * path[-1] - mu * path[-2])
    (loss, limit) = numbers(r"from 23 to #, .* for rates below #\.$", sentence)
    near(loss, (curvature * path[-1] ** 2).sum() / 2)
    near(limit, 2 * (1 + mu) / 30)
    b = np.array(path)[1:, 1]
    times = int((b[1:] * b[:-1] < 0).sum())
    assert f" valley {'once' if times == 1 else f'{times} times'}." in sentence
    assert ("rises" in sentence) == (rate > 2 * (1 + mu) / 30)


def says_rotary(sentence, t, distance, pair):
    q, k = np.zeros((2, 8))
    q[[pair, pair + 4]], k[[pair, pair + 4]] = (2, 0), (1, 1)
    q, k = (
        ops.rotary(x[None, None, None], np.array([[at]]))[0].ravel()
        for x, at in ((q, t), (k, t + distance))
    )
    pattern = r"by # radians .* query by #, the key by #\. .* the score is #, wherever"
    theta = 10000 ** (-pair / 4)
    expected = (theta, t * theta, (t + distance) * theta, q @ k)
    for each in zip(numbers(pattern, sentence), expected, strict=True):
        near(*each)


def says_head(sentence, at, layer, head):
    row, text = HEADS["weights"][layer][head][at], HEADS["text"]
    assert f"Layer {layer}, head {head}, after reading “{text[: at + 1]}”. Most" in sentence
    found = re.findall(r"(itself|(?:a space|\S) \(\d+ back\)): ([\d.]+)%", sentence)
    order = sorted(range(at + 1), key=lambda s: -row[s])[:3]
    assert len(found) == len(order)
    for s, (name, share) in zip(order, found, strict=True):
        shown = text[s].replace(" ", "a space")
        assert name == ("itself" if s == at else f"{shown} ({at - s} back)")
        assert float(share) == pytest.approx(100 * row[s], abs=0.06)


CASES = [
    ("next-letter", says_letters, {"temperature": 0.7, "top": 0.9}),
    ("next-letter", says_letters, {"temperature": 0.1, "top": 0.05}),
    ("forget-gate", says_gate, {"bias": -1, "a": 0.18, "k": 20}),
    ("momentum", says_momentum, {"mu": 0.8, "rate": 0.03}),
    ("momentum", says_momentum, {"mu": 0, "rate": 0.07}),
    ("rotary", says_rotary, {"t": 12, "distance": -7, "pair": 1}),
    ("gpt-head", says_head, {"at": 24, "layer": 1, "head": 1}),
    ("gpt-head", says_head, {"at": 0, "layer": 1, "head": 2}),
]
MOVE = """
addEventListener("load", () => {
  const found = cases.map(([picture, values]) => {
    const place = document.querySelector(`[data-picture=${picture}]`);
    for (const [name, value] of Object.entries(values)) {
      const input = place.querySelector(`label input[name=${name}]`);
      const shape = place.querySelector(`:scope > svg [data-${name}="${value}"]`);
      if (shape) shape.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
      else input.value = value;
      if (input.valueAsNumber !== value) throw new Error(`${name}: ${input.value}`);
      if (!shape) input.dispatchEvent(new Event("input"));
    }
    const svg = place.querySelector(":scope > svg");
    const whole = !/NaN|undefined|Infinity/.test(svg.outerHTML);
    const drawn = whole && place.querySelector(".still").hidden;
    return [place.querySelector("[role=status]").textContent, drawn];
  });
  const pre = document.createElement("pre");
  pre.textContent = JSON.stringify(found);
  document.body.append(pre);
});
"""


@pytest.mark.deep
@needs_chromium
def test_a_browser_moves_the_sliders_and_reads_the_sentences(tmp_path):
    figures = "".join(with_numbers(PICTURES / f"{name}.svg", name) for name in NAMES)
    cases = json.dumps([(name, values) for name, _, values in CASES])
    scripts = f"<script>{SCRIPT}</script><script>const cases = {cases};{MOVE}</script>"
    page = tmp_path / "page.html"
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8><title>t</title>{figures}{scripts}")
    shown = document(page, tmp_path / "profile")
    found = json.loads(shown.partition("<pre>")[2].partition("</pre>")[0])
    for (name, says, values), (sentence, drawn) in zip(CASES, found, strict=True):
        assert drawn, name
        says(sentence, **values)
