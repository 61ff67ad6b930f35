"""Figures in prose follow from the tables and outputs that they quote.

A quotation is a label of a chapter, a sentence without its figures, and a function that computes
them from ``number(words, place)``: the figure at this place in the only line with these words, of
the chapter's tables and of what its cells print.  A last argument names another file of docs.
"""

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?")
MILESTONES = next((DOCS / "outputs").glob("milestones-builtin-*.md")).relative_to(DOCS)


def difference(number, row, later, earlier):
    return number(row, later) - number(row, earlier)


def milliseconds(number, row):
    """The time in a row of chapter 17, whose name may contain figures, too."""
    return number(f"| {row} |", -3)


QUOTATIONS = [
    (
        "counting",
        "The loss on the held-out text falls up to order {:.0f}, then it rises.",
        lambda number: [min(range(1, 7), key=lambda order: number(f"order {order}:", 2))],
    ),
    (
        "smoothing",
        "Counts of single characters need {:.3f} bits",
        lambda number: [number("| 1-gram", 1, MILESTONES)],
    ),
    (
        "smoothing",
        "Kneser-Ney falls to {:.3f} bits per character at order 10",
        lambda number: [number("| 10-gram", 1, MILESTONES)],
    ),
    (
        "smoothing",
        "between {:.1f} bits and about 1 bit",
        lambda number: [number("| 10-gram", 1, MILESTONES)],
    ),
    (
        "predicting",
        "`chapter 2 <smoothing>`) has {:.3f} bits per character, after a second",
        lambda number: [number("| 6-gram", 1, MILESTONES)],
    ),
    (
        "descent",
        "The counted model of the same order has {:.3f}, after a second",
        lambda number: [number("| 6-gram", 1, MILESTONES)],
    ),
    (
        "descent",
        "the network ends at {:.2f} bits",
        lambda number: [number("nothing  ", 1)],
    ),
    (
        "descent",
        "Early stopping alone saves {:.1f} bits",
        lambda number: [difference(number, "nothing  ", 1, 2)],
    ),
    (
        "small-data",
        "adds {:.0f} points to the LSTM at 100 labels",
        lambda number: [number("the same, pre-trained", 1) - number("LSTM from random", 0)],
    ),
    (
        "small-data",
        "Triples win with each seed, by up to {:.1f} points",
        lambda number: [max(difference(number, f"seed {seed}:", 1, 2) for seed in range(3))],
    ),
    (
        "small-data",
        "even {:.0f} against {:.0f} is something that fair coins do",
        lambda number: [number("seed 2:", 3), number("seed 2:", 4)],
    ),
    ("small-data", "so macro-F1 is {:.3f}", lambda number: [number("macro_f1", 1)]),
    (
        "small-data",
        "Ten times as many labels are worth almost {:.0f} points here",
        lambda number: [round(difference(number, "| n-grams |", 4, 0), -1)],
    ),
    (
        "big-data",
        "The short formula says 6, the long one {:.2f}.",
        lambda number: [number("operations per weight and token", 1)],
    ),
    (
        "big-data",
        "should have read {:.0f} tokens per weight",
        lambda number: [number("in the paper, 2022, F = 5.8e+23", -1)],
    ),
    (
        "big-data",
        "takes {:.0f} days on one such machine",
        lambda number: [number(" 100.0%", 4, "chapters/16-big-data.md") / 24],
    ),
    (
        "kernels",
        "That is {:.0f} times as fast, and still a quarter of the peak.",
        lambda number: [
            round(milliseconds(number, "no checks") / milliseconds(number, "along the rows"), -1)
        ],
    ),
    (
        "kernels",
        "| Cython, 2 threads | 8.5 | 189 | {:.1f} |",
        lambda number: [
            milliseconds(number, "NumPy, a step at a time")
            / milliseconds(number, "Cython, 2 threads")
        ],
    ),
    (
        "today",
        "**The untied output** gains {:.3f} with AdamW",
        lambda number: [number("| GPT-2's recipe", 1) - number("| with an untied output")],
    ),
    (
        "your-own",
        "Rewards alone raise the share by {:.1f} to {:.1f} percentage points",
        lambda number: sorted(difference(number, f"| {seed} |", 2, 1) for seed in range(3))[::2],
    ),
]


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


@pytest.mark.parametrize(
    ("label", "sentence", "figures"), QUOTATIONS, ids=[sentence for _, sentence, _ in QUOTATIONS]
)
def test_a_sentence_has_the_figures_that_it_quotes(label, sentence, figures):
    text, own_lines = chapter(label)

    def number(words, place=0, file=None):
        lines = (DOCS / file).read_text().splitlines() if file else own_lines
        (line,) = (line for line in lines if words in line)
        return float(NUMBER.findall(line)[place].replace(",", ""))

    assert sentence.format(*figures(number)) in text
