"""The models of the book up to a chapter, on one text: what ``{so-far} lstm gru`` shows.

The directive names the models of its chapter.  The table lists their bits per character and those
of the models before them, the block below it what each of them writes, and the picture of the
milestones contains their curves alone.  All figures are of the kept run of the study.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
PICTURE = DOCS / "pictures" / "milestones.svg"
(KEPT,) = (DOCS / "outputs").glob("milestones-builtin-*.json")

PAGE = re.compile(
    r"^\((?P<label>[\w-]+)\)=\n# (?P<number>\d+) .*^```\{so-far\} (?P<names>[^\n]+)$",
    re.MULTILINE | re.DOTALL,
)
# The group of a part of one network in the SVG, which contains no other group.
GROUP = re.compile(r' *<g id="(?P<name>[\w-]+)-(?P<part>line|name|leader)">.*?</g>\n', re.DOTALL)


@cache
def results() -> dict[str, Any]:
    """The kept run."""
    return json.loads(KEPT.read_text())


@cache
def chapters() -> list[tuple[str, list[str]]]:
    """A link to each chapter with the directive, and the models that it names."""
    pages = map(PAGE.search, (p.read_text() for p in sorted((DOCS / "chapters").glob("*.md"))))
    return [
        (f"{{ref}}`{page['number']} <{page['label']}>`", page["names"].split())
        for page in pages
        if page
    ]


def shown(new: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """The chapter and the record of each model, up to the models of one chapter."""
    records = {record["name"]: record for record in results()["models"]}
    named = chapters()
    last = [names for _, names in named].index(new)
    return [(link, records[name]) for link, names in named[: last + 1] for name in names]


def text(new: list[str]) -> str:
    """The table and what the models write, in Markdown."""
    models = shown(new)
    rows = ["| model | chapter | bits per character | parameters |", "| --- | --- | --: | --: |"]
    for link, record in models:
        name, bits = record["name"], f"{record['bits_per_character']:.3f}"
        if name in new:
            name, bits = f"**{name}**", f"**{bits}**"
        rows.append(f"| {name} | {link} | {bits} | {record['weights']:,} |")
    width = max(len(record["name"]) for _, record in models)
    samples = [f"{record['name']:{width}}  {record['sample']}" for _, record in models]
    run = results()
    return "\n".join(
        [
            *rows,
            "",
            f"The text is the Python language reference, and its last {run['held_out']:,} "
            f"characters are held out. Each network was trained for {run['minutes']:g} minutes "
            f"({run['machine']}); counting takes a second. {{ref}}`The appendix on milestones "
            "<milestones>` has the command and all figures. What each model writes from an empty "
            "prompt, with the same seed:",
            "",
            "```text",
            *samples,
            "```",
        ]
    )


def grown(new: list[str]) -> str:
    """The SVG of the milestones with the curves up to one chapter, whose own are not faded.

    It is empty for the first chapter, whose 1-gram is above the picture.
    """
    names = [record["name"] for _, record in shown(new)]
    if len(names) == 1:
        return ""

    def keep(match: re.Match) -> str:
        if match["name"] not in names:
            return ""
        if match["name"] in new or match["part"] != "line":
            return match[0]
        return match[0].replace("<g ", '<g opacity="0.5" ', 1)

    return GROUP.sub(keep, PICTURE.read_text())


def alternative(new: list[str]) -> str:
    """What the picture shows, in words."""
    lines = [
        f"{record['name']} {record['bits_per_character']:.2f}"
        for _, record in shown(new)
        if "curve" in record
    ]
    curves = f"The lowest points of curves by minutes: {', '.join(lines)}. " if lines else ""
    best = min(r["bits_per_character"] for r in results()["models"] if "curve" not in r)
    return (
        f"Bits per character. {curves}Marks at the left are the n-grams, and a dashed line at "
        f"{best:.2f} is the best of them."
    )


CAPTION = (
    "The milestones so far. The marks at the left are n-grams, the dashed line is the best of "
    "them, and the curves of earlier chapters are pale."
)
