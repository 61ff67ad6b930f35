"""Labelled texts: lines ``label<TAB>text``, JSON lines, or a folder of files for each label."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from minillm.data.lines import read_columns, read_lines
from minillm.data.splits import Split
from minillm.errors import InputError

Labelled = tuple[str, str]  # label, text


def read_labelled(path: str | Path) -> Iterator[Labelled]:
    """(label, text), one at a time, of a UTF-8 file or of a folder.

    A file named ``.jsonl`` has lines ``{"text": "...", "label": "..."}``, any other file lines
    ``label<TAB>text``.  In a folder, each subfolder is a label, and each file in it one text.
    White space becomes single spaces.  Labels with an empty text, which most large sets have a few
    times, are left out.  InputError names a line without a label or text, or a file without any.
    """
    if Path(path).is_dir():
        yield from _read_folder(Path(path))
        return
    empty = True
    for (label, text), place in read_columns(path, "label", "text"):
        if not label.strip():
            raise InputError(f"{place}: expected a label and a text, found an empty label")
        if text.strip():
            empty = False
            yield label.strip(), " ".join(text.split())
    if empty:
        raise InputError(f"{path}: expected a label with a text, found none")


def _read_folder(path: Path) -> Iterator[Labelled]:
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    if not folders:
        raise InputError(f"{path}: expected a folder for each label, found none")
    for folder in folders:
        files = sorted(file for file in folder.iterdir() if file.is_file())
        if not files:
            raise InputError(f"{folder}: expected a file for each text, found none")
        for file in files:
            text = " ".join(word for line, _ in read_lines(file) for word in line.split())
            if not text:
                raise InputError(f"{file}: expected text, found none")
            yield folder.name, text


def with_held_out(labelled: Iterable[Labelled], every: int) -> Iterator[tuple[bool, Labelled]]:
    """Each labelled text, and whether it is held out: every second, third, ... of each label."""
    counts: Counter[str] = Counter()
    for label, text in labelled:
        counts[label] += 1
        yield counts[label] % every == 0, (label, text)


def open_labelled(path: str | Path, validation: str | Path | None = None) -> Split[Labelled]:
    """Labelled texts; the validation texts come from another path, or are a tenth of each label."""
    if validation:
        training, held_out = list(read_labelled(path)), list(read_labelled(validation))
    else:
        rows = list(with_held_out(read_labelled(path), 10))
        training, held_out = ([row for held, row in rows if held == part] for part in (False, True))
    data = Split(path, {"training": training, "validation": held_out})
    if len(labels_of(data)) < 2:
        raise InputError(f"{path}: expected two labels or more, found {len(labels_of(data))}")
    labels, texts = (set(column) for column in zip(*training, strict=True))
    if len(labels) > max(len(texts), len(training) / 2):
        raise InputError(
            f"{path}: expected the label before the text, found more labels than texts: the "
            "columns may be in the other order"
        )
    if not held_out:
        raise InputError(
            f"{path}: expected a label with ten texts or more, because a tenth is held out"
        )
    return data


def labels_of(data: Split[Labelled]) -> list[str]:
    """The labels of the training texts."""
    return sorted({label for label, _ in data["training"]})
