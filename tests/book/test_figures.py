"""Figures in prose follow from the tables and outputs that they quote.

A quotation is the label of a chapter, and a sentence in which expressions stand for the figures.
``n(words, place)`` is the figure at this place in the only line with these words, of the chapter's
tables and of what its cells print; a last argument names another file of docs.
"""

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?")
MILESTONES = next((DOCS / "outputs").glob("milestones-builtin-*.md")).relative_to(DOCS)

QUOTATIONS = """
counting: The loss on the held-out text falls up to order
    {min(range(1, 7), key=lambda order: n(f"order {order}:", 2))}, then it rises.
smoothing: Counts of single characters need {n("| 1-gram", 1, MILESTONES):.3f} bits
smoothing: Kneser-Ney falls to {n("| 10-gram", 1, MILESTONES):.3f} bits per character at order 10
smoothing: between {n("| 10-gram", 1, MILESTONES):.1f} bits and about 1 bit
predicting: `chapter 2 <kneser-ney>`) has {n("| 6-gram", 1, MILESTONES):.3f} bits per character,
    after a second
descent: The n-gram model of the same order has {n("| 6-gram", 1, MILESTONES):.3f}, after a second
small-data: the network ends at {n("nothing  ", 1):.2f} bits
small-data: Early stopping alone saves {n("nothing  ", 1) - n("nothing  ", 2):.1f} bits
small-data: adds {n("the same, pre-trained", 1) - n("LSTM from random", 0):.0f} points
    to the LSTM at 100 labels
small-data: Triples win with each seed, by up to
    {max(n(f"seed {k}:", 1) - n(f"seed {k}:", 2) for k in range(3)):.1f} points
small-data: unevenly as {n("seed 2:", 3):.0f} to {n("seed 2:", 4):.0f} in one of six cases
small-data: so macro-F1 is {n("macro_f1", 1):.3f}
small-data: Ten times as many labels gain some
    {round(n("| n-grams |", 4) - n("| n-grams |", 0), -1):.0f} points here
big-data: The short formula says 6, the long one {n("operations per weight and token", 1):.2f}:
big-data: should have read {n("in the paper, 2022, F = 5.8e+23", -1):.0f} tokens per weight
big-data: takes {n(" 100.0%", 4, "chapters/18-big-data.md") / 24:.0f} days on one such machine
kernels: That is {round(n("| no checks |", -3) / n("| along the rows |", -3), -1):.0f} times as
    fast, and still a quarter of the peak.
kernels: | Cython, 2 threads | 8.5 | 189 |
    {n("| NumPy, a step at a time |", -3) / n("| Cython, 2 threads |", -3):.1f} |
today: **The untied output** gains {n("| GPT-2's recipe", 1) - n("| with an untied output"):.3f}
    with AdamW
your-own: Rewards alone raise the share by
    {min(n(f"| {k} |", 2) - n(f"| {k} |", 1) for k in range(3)):.1f} to
    {max(n(f"| {k} |", 2) - n(f"| {k} |", 1) for k in range(3)):.1f} percentage points
"""


def chapter(label):
    """The text of a chapter or appendix; the lines of its tables, outputs and included files."""
    (path,) = (path for path in DOCS.glob("*/*.md") if f"({label})=\n" in path.read_text())
    text = path.read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for output in re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        lines += output.splitlines()
    if path.parent.name == "chapters":
        kept = json.loads((DOCS / "outputs/cells" / f"{path.stem}.json").read_text())
        for output in kept["outputs"]:
            lines += output
    for name in re.findall(r"\{literalinclude\} (\.\./outputs/\S+)|\{include\} (\S+)", text):
        lines += (path.parent / "".join(name)).read_text().splitlines()
    return " ".join(text.split()), lines


@pytest.mark.parametrize("quotation", re.sub(r"\n +", " ", QUOTATIONS.strip()).split("\n"))
def test_a_sentence_has_the_figures_that_it_quotes(quotation):
    label, _, sentence = quotation.partition(": ")
    text, own_lines = chapter(label)

    def n(words, place=0, file=None):
        lines = (DOCS / file).read_text().splitlines() if file else own_lines
        (line,) = (line for line in lines if words in line)
        return float(NUMBER.findall(line)[place].replace(",", ""))

    assert eval(f"f'''{sentence}'''", {"n": n, "MILESTONES": MILESTONES}) in text
