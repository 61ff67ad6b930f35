"""The outputs of the chapters' cells are kept in docs/outputs/cells: Sphinx runs none.

    python docs/machinery/outputs.py [--quick | PAGE ...]

runs the cells of all pages, of those that took seconds when their outputs were kept, or of those
that are named, each page in a process and a folder of its own, and a page on each core.  It writes
the outputs of a page where its cells or what they print have changed, and then ends with status 1:
they are to be read and committed.  Such a page first runs once more, on its own, because some cells
print times.  Machines round differently, so that numbers may differ by a tenth.  A cell with the
option ``varies`` prints times or sampled text, and is not compared.
"""

import asyncio
import hashlib
import json
import math
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nbformat import NotebookNode
from notebooks import notebook

DOCS = Path(__file__).resolve().parents[1]
KEPT = DOCS / "outputs" / "cells"
NUMBER = re.compile(r"(-?\d(?:[\d,]*\d)?(?:\.\d+)?(?:e[+-]?\d+)?)")
TIMEOUT = 600  # seconds for a cell
QUICK = 6  # seconds for a page of --quick
LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def pages() -> list[Path]:
    """The pages that have cells."""
    found = [*sorted((DOCS / "chapters").glob("*.md")), *sorted((DOCS / "appendices").glob("*.md"))]
    return [page for page in found if "```{code-cell}" in page.read_text()]


def digest(sources: list[str]) -> str:
    """What tells whether a cell of a page has changed."""
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def sources(page: Path) -> list[str]:
    """The code of the cells of a page."""
    return [cell.source for cell in notebook(page, holes=False).cells if cell.cell_type == "code"]


def kept(page: Path) -> list[str] | None:
    """The kept output of each cell of a page, or None where they are of other cells."""
    path = KEPT / f"{page.stem}.json"
    if not path.exists():
        return None
    stored = json.loads(path.read_text())
    if stored["cells"] != digest(sources(page)):
        return None
    return ["\n".join(lines) for lines in stored["outputs"]]


def run(page: Path, book: NotebookNode, threads: int | None = None) -> list[str]:
    """Run the cells of a page with so many threads, and return the output of each."""
    # Whoever only reads the book has no nbclient.
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    limits = {} if threads is None else dict.fromkeys(LIMITS, str(threads))
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            book,
            timeout=TIMEOUT,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=ERROR"],  # it would warn of its ports on this machine
        )
        try:
            asyncio.run(client.async_execute(env=os.environ | limits))
        except CellExecutionError as error:
            sys.exit(f"{page.stem}: {error}")
    outputs = [printed(cell.outputs) for cell in book.cells if cell.cell_type == "code"]
    return [output.replace(folder, "") for output in outputs]


def printed(outputs: list) -> str:
    """What a cell printed, and its value, as text without colours and addresses."""
    texts = [
        output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"] + "\n"
        for output in outputs
    ]
    text = ADDRESS.sub("0x...", COLOUR.sub("", "".join(texts)))
    return text.replace("\r\n", "\n").rstrip()


def alike(one: str, other: str) -> bool:
    """Tell whether two outputs have the same words, and numbers that differ by a tenth at most.

    What is below a millionth is the error of a comparison.
    """
    parts = [NUMBER.split(" ".join(text.split())) for text in (one, other)]
    if parts[0][::2] != parts[1][::2]:
        return False
    numbers = [[float(number.replace(",", "")) for number in each[1::2]] for each in parts]
    pairs = zip(*numbers, strict=True)
    return all(math.isclose(*pair, rel_tol=0.1, abs_tol=1e-6) for pair in pairs)


def compared(page: Path) -> list[bool]:
    """Tell of each cell whether its output is the same on every machine."""
    starts = re.findall(r"^```{code-cell}\n(.*)", page.read_text(), re.MULTILINE)
    return [start != ":varies:" for start in starts]


def is_new(page: Path, outputs: list[str], before: list[str] | None) -> bool:
    """Tell whether the outputs are others than those that were kept before."""
    if before is None:
        return True
    cells = zip(compared(page), outputs, before, strict=True)
    return any(same and not alike(one, other) for same, one, other in cells)


def seconds_of(page: Path) -> float:
    """How long the cells of a page took when their outputs were kept."""
    path = KEPT / f"{page.stem}.json"
    return json.loads(path.read_text())["seconds"] if path.exists() else 0


def keep(page: Path, outputs: list[str], seconds: float) -> None:
    """Write the outputs of a page."""
    KEPT.mkdir(parents=True, exist_ok=True)
    stored = {
        "cells": digest(sources(page)),
        "seconds": round(seconds),
        "outputs": [text.splitlines() for text in outputs],
    }
    text = json.dumps(stored, indent=1, ensure_ascii=False)
    (KEPT / f"{page.stem}.json").write_text(text + "\n")


def main(names: list[str]) -> None:
    # Cells run the command minillm.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if names == ["--quick"]:
        chosen = [page for page in pages() if seconds_of(page) <= QUICK]
    else:
        chosen = [Path(name).resolve() for name in names] or pages()
    chosen.sort(key=seconds_of, reverse=True)  # no core is idle while another runs the longest
    cores, total = os.cpu_count() or 1, len(chosen)

    # All are read before threads run them: Python 3.11 cannot parse sources in two threads at once.
    books = [notebook(page, holes=False) for page in chosen]
    before = [kept(page) for page in chosen]

    def timed(page: Path, book: NotebookNode) -> tuple[list[str], float]:
        begin = time.monotonic()
        return run(page, book, max(1, cores // total)), time.monotonic() - begin

    new = {}
    with ThreadPoolExecutor(cores) as pool:
        found = pool.map(timed, chosen, books)
        for number, (page, (outputs, seconds)) in enumerate(zip(chosen, found, strict=True)):
            line = f"[{number + 1}/{total}] {page.stem}: {len(outputs)} cells, {seconds:.0f} s"
            print(line, flush=True)
            if is_new(page, outputs, before[number]):
                new[page] = outputs, seconds
    for page, (outputs, seconds) in new.items():
        alone = outputs if total == 1 else run(page, notebook(page, holes=False))
        keep(page, alone, seconds)
    if new:
        names = ", ".join(f"{page.stem}.json" for page in new)
        sys.exit(f"docs/outputs/cells: new outputs, to be read and committed: {names}")


if __name__ == "__main__":
    main(sys.argv[1:])
