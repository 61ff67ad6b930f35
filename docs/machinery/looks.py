"""Train a small model of each kind, and keep what ``minillm look`` shows of it: docs/outputs/look.

The build makes the pages from what is kept (``write_all``), with the style and the script that
minillm has then.  A model takes about a minute:

    python docs/machinery/looks.py [NAME ...]
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
KEPT = DOCS / "outputs" / "look"
sys.path.insert(0, str(DOCS.parent))  # a reader's build has not installed minillm

import minillm  # noqa: E402  (the line above says where it is)
from minillm.look.page import render  # noqa: E402

PYTHON = "The for statement (see above) is used to iterate."
WORDS = "The while statement is used for repeated execution as long as an expression is true."
# A name: the name on the page, the kind, its settings, and the text that the model reads.
LOOKS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "ngram": ("an n-gram model", "ngram", {"order": 6}, WORDS),
    "lstm": ("an LSTM", "lm", {"hidden": 192, "steps": 2000}, PYTHON),
    "gpt": (
        "a GPT",
        "gpt",
        {"layers": 3, "width": 96, "heads": 4, "context": 64, "batch": 24, "steps": 1800},
        PYTHON,
    ),
    "bert": (
        "a BERT",
        "bert",
        {"layers": 3, "width": 96, "heads": 4, "vocabulary": 1500, "steps": 1000},
        WORDS,
    ),
    "translator": (
        "a translator",
        "transformer",
        {"files": "numbers-en-fr", "layers": 2, "width": 64, "feed_forward": 256, "steps": 1200},
        "forty-two thousand, one hundred and eighty-one",
    ),
}


def look(name: str) -> dict[str, Any]:
    """Train the model, and return the numbers of its page."""
    title, kind, settings, text = LOOKS[name]
    with tempfile.TemporaryDirectory() as folder:
        run = minillm.train(kind, out=Path(folder) / title, quiet=True, **settings)
        page = run.look(text)
    return page.values


def write_all(folder: Path) -> None:
    """Write the page of each kept look."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(KEPT.glob("*.json")):
        page = render(json.loads(path.read_text()))
        (folder / f"{path.stem}.html").write_text(page, encoding="utf-8")


def main(names: list[str]) -> None:
    """Keep the looks of some models, or of all."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in names or LOOKS:
        text = json.dumps(look(name), ensure_ascii=False, separators=(",", ":"))
        (KEPT / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
