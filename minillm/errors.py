"""Exceptions with messages for users, and how texts of others are printed in them."""

import difflib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

# Names in nanoGPT, Hugging Face and PyTorch -> the names here; a verb or a kind has one of them.
ELSEWHERE = {
    "batch_size": "batch",
    "block_size": "context window",
    "fit": "train",
    "from_pretrained": "load import",
    "lr": "learning_rate",
    "max_iters": "steps",
    "max_new_tokens": "length",
    "n_embd": "width hidden",
    "n_head": "heads",
    "n_layer": "layers",
    "num_train_epochs": "epochs",
    "most_similar": "similar",
    "out": "to file",
    "output_dir": "out to file",
    "pipeline": "load generate",
    "predict": "classify generate",
    "wv": "vectors",
}
_CPU = "minillm runs on the CPU"
INSTEAD = {  # other names there -> what there is here, where it has no name of its own
    "cuda": _CPU,
    "device": _CPU,
    "generate": 'a run writes: minillm.load("runs/x").generate()',
    "gpu": _CPU,
    "num_samples": "each call writes one text, and another seed another one",
    "out": "the result is printed (minillm ... > FILE keeps it), or returned",
    "predict": 'a run classifies or writes: minillm.load("runs/x").classify("a text")',
}
_FAMILIES = r"(bert|deepseek|distil|gemma|gpt|llama|mistral|mixtral|phi|qwen|roberta|smollm)"


class InputError(ValueError):
    """Bad input: a file, a line or an argument that is not as expected.

    The message is one line, "expected ..., found ...".  ``field`` is the argument of a function or
    the field of a configuration, such as ``lora_rank``; without one, the message begins with the
    place.  The command line spells a field as its option, and exits with status 2.
    """

    def __init__(self, message: str, field: str | None = None):
        super().__init__(message)
        self.field = field

    def __str__(self) -> str:
        return self.args[0] if self.field is None else f"{self.field}: {self.args[0]}"


class InputWarning(UserWarning):
    """Something in the input has no effect here, which the reader should know; one line.

    The command line prints it on standard error and goes on.
    """


class DivergedError(RuntimeError):
    """The loss or the gradient of a training is no longer a finite number.

    The input may be correct: a lower learning rate often helps.  The command line prints the
    message, one line, and exits with status 1.
    """


def missing_extra(what: str, extra: str) -> InputError:
    """The error where a package is missing that ``what`` needs."""
    return InputError(f"{what} needs the packages of: pip install 'minillm-book[{extra}]'")


def short(value: object) -> str:
    """The form of a value in a message: on one line, and not too long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write a number of thousands of digits
        text = "a very large number"
    return text if len(text) <= 60 else text[:57] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at the name for one of another program, or at the nearest spellings, or nothing.

    >>> did_you_mean("n_layer", ["layers", "heads"]), did_you_mean("--layer", ["--layers"])
    ('; did you mean layers?', '; did you mean --layers?')
    """
    if hint := elsewhere(word, known := list(known)):
        return hint
    names = {_plain(name): name for name in known}
    close = difflib.get_close_matches(_plain(word), list(names), 3, 0.6)
    return f"; did you mean {', '.join(names[name] for name in close)}?" if close else ""


def elsewhere(word: str, known: Iterable[str]) -> str:
    """A hint at the name for one of another program, or nothing: Python itself spells names."""
    names = {_plain(name): name for name in known}
    word = _plain(word)
    for name in ELSEWHERE.get(word, "").split():
        if name in names:
            return f"; did you mean {names[name]}?"
    return f"; {INSTEAD[word]}" if word in INSTEAD and word not in names else ""


def _plain(name: str) -> str:
    return name[:60].strip("-").replace("-", "_").lower()


def no_file(path: object, message: str) -> InputError:
    """The error for a path without a file; for a published model's name it says how to get one."""
    place = Path(str(path))
    published = re.match(_FAMILIES, place.name.lower()) and place.suffix not in (".txt", ".tsv")
    if published and not place.exists() and (place.name == str(path) or not place.parent.exists()):
        message += (
            "; minillm downloads no models: get its files, for example with hf download OWNER/NAME "
            "--local-dir DIR, then minillm import DIR --out RUN"
        )
    return InputError(f"{path}: {message}")


def wrong_field(name: str, message: str, place: str) -> InputError:
    """The error for a field in a file, whose name ``place`` is, or for an argument."""
    return InputError(f"{place}{name}: {message}") if place else InputError(message, name)


def check_names(names: Iterable[str], known: Collection[str], place: str = "") -> None:
    """InputError for a name that is not known; its message begins with ``place``."""
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise wrong_field(name[:60], f"there is no such setting{hint}", place)


def escaped(text: str) -> str:
    r"""A text whose control characters, which could command a terminal, are escapes.

    >>> escaped("\x1b[2J and \a")
    '\\x1b[2J and \\x07'

    Line ends and tabs stay.  Halves of surrogate pairs, which cannot be encoded, are escapes too.
    """
    return re.sub(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", lambda found: repr(found[0])[1:-1], text
    )


def describe_error(error: BaseException) -> str:
    """The type and the text of an exception of a reader's code, on one line."""
    try:
        text = str(error)
    except BaseException:  # its own __str__ may raise
        text = "(its text raises an exception)"
    name = type(error).__name__
    return one_line(f"{name}: {text}" if text else name, 300)


def one_line(text: str, most: int = 1000) -> str:
    """A message on one line of at most ``most`` characters, without control characters."""
    line = escaped(" ".join(text[: 2 * most].splitlines()))
    return line if len(line) <= most else line[: most - 3] + "..."
