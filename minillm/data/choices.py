"""Multiple choice: JSON lines with a beginning, its possible endings, and the right one.

Two forms are read, HellaSwag's and ARC's, as in Hugging Face's sets:

    {"ctx": "She cracks an egg and", "endings": ["fries it.", "paints it."], "label": 0}
    {"question": "What boils?", "choices": {"text": ["ice", "water"], "label": ["A", "B"]},
     "answerKey": "B"}

Sources: Zellers, Holtzman, Bisk, Farhadi and Choi (2019), "HellaSwag: can a machine really finish
your sentence?"; Clark et al. (2018), "Think you have solved question answering? Try ARC".
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from minillm.data.entries import entry
from minillm.data.files import json_object
from minillm.data.lines import read_lines
from minillm.errors import InputError, short


class Choice(NamedTuple):
    """A beginning, its endings with the space before them, and the number of the right one."""

    beginning: str
    endings: list[str]
    right: int


def is_choice(values: Any) -> bool:
    """Whether a JSON object has one of the two forms."""
    return isinstance(values, dict) and (
        {"ctx", "endings"} <= values.keys() or {"question", "choices"} <= values.keys()
    )


def read_choices(path: str | Path) -> Iterator[Choice]:
    """The questions of a file.  InputError names the line of an entry that is missing or wrong."""
    for line, place in read_lines(path):
        if line.strip():
            yield _of_line(json_object(line, place), place)


def _of_line(values: Any, place: str) -> Choice:
    if "endings" in values:
        beginning, endings = entry(values, "ctx", str, place), _texts(values, "endings", place)
        label = values.get("label")
        known = [str(number) for number in range(len(endings))]
    else:
        beginning = f"Question: {entry(values, 'question', str, place)}\nAnswer:"
        endings, known = (
            _texts(values.get("choices") or {}, name, f"{place}: choices")
            for name in ("text", "label")
        )
        label = values.get("answerKey")
    if len(endings) < 2 or len(known) != len(endings):
        raise InputError(
            f"{place}: expected two endings or more, each with a label, "
            f"found {len(endings)} with {len(known)} labels"
        )
    if str(label) not in known:
        raise InputError(f"{place}: expected one of {short(known)} as label, found {short(label)}")
    return Choice(beginning, [f" {ending.strip()}" for ending in endings], known.index(str(label)))


def _texts(values: Any, name: str, place: str) -> list[str]:
    texts = entry(values, name, list, place)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(f"{place}: {name}: expected texts, found {short(texts)}")
    return texts
