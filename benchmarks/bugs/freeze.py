"""Print the mutants of the backwards in ``ops.py``: how ``mutants.jsonl`` was made, once.

    python -m benchmarks.bugs.freeze > mutants.jsonl

The changes come from ``tests/mutation``, without mutants that raise an error at the inputs of their
op, which any caller notices, and without mutants that change no result.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.mutation import python

from . import SOURCE, Bug, shows
from .cases import CASES


def changes() -> Iterator[Bug]:
    """Yield the mutants as changes of whole lines; of each op, if several call the function."""
    for mutant in python.mutants(Path("ops.py"), SOURCE):
        start = SOURCE.rindex("\n", 0, mutant.begin) + 1
        end = SOURCE.index("\n", mutant.end)
        old, new = SOURCE[start:end], mutant.text[start : end - len(SOURCE)]
        bug = Bug("", "mutant", mutant.what, mutant.line, old, new)
        for op in [bug.function] if bug.function in CASES else CASES:
            yield Bug(op, bug.kind, bug.what, bug.line, old, new)


def frozen() -> Iterator[Bug]:
    """Yield the mutants that only a checker notices, each as one of the first such op."""
    seen = set()
    for bug in changes():
        change = bug.line, bug.new
        if change not in seen and shows(bug, seed=0):
            seen.add(change)
            yield bug


if __name__ == "__main__":
    for bug in frozen():
        fields = asdict(bug)
        del fields["kind"]
        print(json.dumps(fields, ensure_ascii=False))
