"""Texts that come with Python: its language reference, and the source of its standard library.

They differ a little from one version of Python to the next.
"""

import sysconfig
from pathlib import Path

from minillm.errors import InputError

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


def builtin_corpus() -> str:
    """The Python language reference that comes with CPython: about 0.5 MB of English.

    It is ``pydoc_data.topics``, which ``help("while")`` prints from: its topics in the order of
    their names.
    """
    try:
        from pydoc_data.topics import topics  # some distributions of Python leave it out
    except ImportError:
        raise InputError(
            "python-docs: this Python has no pydoc_data.topics: expected a text FILE"
        ) from None
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


def standard_library() -> str:
    """The source of the standard library, without tests and installed packages.

    Its .py files are in the order of their paths.  A file that is not UTF-8 is left out.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    texts = []
    for path in sorted(root.rglob("*.py")):
        if _LEFT_OUT.isdisjoint(path.relative_to(root).parts):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            texts.append(text if text.endswith("\n") else text + "\n")
    if not texts:
        raise InputError(f"python-source: there are no .py files in {root}: expected a text FILE")
    return "\n".join(texts)


TEXTS = {"python-docs": builtin_corpus, "python-source": standard_library}
DEFAULT_TEXT = "python-docs"
