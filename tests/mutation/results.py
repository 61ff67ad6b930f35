"""The verdicts on disk, a JSON object a line, and the report of them."""

import json
from collections import Counter
from pathlib import Path

from .equivalent import is_equivalent
from .mutant import Mutant

KILLED, SURVIVED, SAME, UNDECIDED = "killed", "survived", "same code", "undecided"
FINAL = {KILLED, SURVIVED, SAME}
EQUIVALENT = "equivalent"


class Results:
    """The verdicts so far.  The last line about a mutant counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, dict] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # the end of a run that was cut off
                continue
            self.records[record["key"]] = record

    def verdict(self, mutant: Mutant) -> str:
        if is_equivalent(mutant):
            return EQUIVALENT
        return self.records.get(mutant.key, {}).get("verdict", UNDECIDED)

    def add(self, mutant: Mutant, verdict: str, by: str, seconds: float) -> None:
        record = {
            "key": mutant.key,
            "file": mutant.path.as_posix(),
            "line": mutant.line,
            "what": mutant.what,
            "verdict": verdict,
            "by": by,
            "seconds": round(seconds, 1),
        }
        self.records[mutant.key] = record
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


COLUMNS = ("mutants", KILLED, SURVIVED, UNDECIDED, SAME, EQUIVALENT)


def report(mutants: list[Mutant], results: Results) -> tuple[str, bool]:
    """A table with a line for each file and the survivors, and whether there are any."""
    counts: dict[str, Counter] = {}
    for mutant in mutants:
        count = counts.setdefault(mutant.path.as_posix(), Counter())
        count.update(["mutants", results.verdict(mutant)])
    total: Counter = sum(counts.values(), Counter())
    lines = [f"{'':44}" + "".join(f"{column:>11}" for column in COLUMNS)]
    for name, count in (*counts.items(), ("all", total)):
        lines.append(f"{name:44}" + "".join(f"{count[column]:>11}" for column in COLUMNS))
    survivors = [m for m in mutants if results.verdict(m) == SURVIVED]
    lines += [f"survived: {mutant}" for mutant in survivors]
    return "\n".join(lines), bool(survivors)
