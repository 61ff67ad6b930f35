"""Texts that come with Python: its language reference, and the source of its standard library.

They differ a little from one version of Python to the next.
"""

import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from minillm.errors import InputError

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3"}


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
    texts = []
    for _, path in modules():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        texts.append(text if text.endswith("\n") else text + "\n")
    if not texts:
        root = sysconfig.get_paths()["stdlib"]
        raise InputError(f"python-source: there are no .py files in {root}: expected a text FILE")
    return "\n".join(texts)


def modules(*packages: str) -> Iterator[tuple[str, Path]]:
    """The name and the file of each module of the standard library and of the packages.

    Tests are left out, and a package that is not installed.
    """
    roots = [("", sysconfig.get_paths()["stdlib"])]
    for package in packages:
        spec = find_spec(package)
        roots += [
            (f"{package}.", path) for path in (spec and spec.submodule_search_locations) or ()
        ]
    for prefix, root in roots:
        for path in sorted(Path(root).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if _LEFT_OUT.isdisjoint(parts):
                yield prefix + ".".join(parts), path


TEXTS = {"python-docs": builtin_corpus, "python-source": standard_library}
DEFAULT_TEXT = "python-docs"
