"""The verdict on each mutant: build it, test it, and note what killed it."""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .mutant import Mutant
from .project import Outcome, Project, killer_of
from .results import KILLED, SAME, SURVIVED, UNDECIDED, Results
from .witnesses import Witness, witnesses

SPARE = 10  # seconds of CPU time, beyond four times those of the unchanged tests
REMEMBERED = 8  # killers of a file that go first for its next mutants
PASSED, NOTHING_CHOSEN = 0, 5  # exit statuses of pytest
FAILED = (1, 2, 3)  # of a test, while loading, in pytest itself


class Judge:
    """A runner of mutants in a copy of the project, which stores the verdicts."""

    def __init__(self, root: Path, results: Results, say: Callable[[str], None] = print) -> None:
        self.root, self.results, self.say = root, results, say
        self.unchanged: dict[Witness, float | str] = {}  # seconds, or why they fail
        self.killers: dict[Path, list[str]] = {}

    def run(self, mutants: list[Mutant]) -> None:
        """Run all in their order."""
        with tempfile.TemporaryDirectory(prefix="minillm-mutants-") as folder:
            project = Project(self.root, Path(folder, "copy"))
            for mutant in mutants:
                self.one(project, mutant)

    def one(self, project: Project, mutant: Mutant) -> None:
        began = time.monotonic()
        verdict, by = self.decide(project, mutant)
        seconds = time.monotonic() - began
        self.results.add(mutant, verdict, by, seconds)
        self.say(f"{verdict:10}{seconds:6.1f} s  {mutant}  [{by}]")

    def decide(self, project: Project, mutant: Mutant) -> tuple[str, str]:
        """The verdict, and the killer or the reason why there is none."""
        near, wide = witnesses(project.folder, mutant.path)
        for topic in {witness.topic for witness in near} - {None}:
            project.prepare(topic)
        for witness in near:
            if reason := self.fails_unchanged(project, witness):
                return UNDECIDED, reason
        differs = mutant.path.suffix == ".py"
        for witness in (*near, *wide):
            if reason := self.fails_unchanged(project, witness):
                return UNDECIDED, reason
            with project.with_change(mutant):
                if witness.topic is not None:
                    built = project.build_topic(witness.topic, mutant.path.suffix != ".h")
                    if built.code != 0:
                        return SAME, "it does not compile"
                    if project.same_code(witness.topic):
                        continue
                differs = True
                outcome = self.test(project, witness, mutant.path)
            if outcome.code == -signal.SIGKILL:
                return UNDECIDED, "killed from outside, or for lack of memory"
            if outcome.code is None or outcome.code in FAILED or outcome.code < 0:
                return KILLED, self.note_killer(mutant.path, outcome)
            if outcome.code not in (PASSED, NOTHING_CHOSEN):
                return UNDECIDED, outcome.output[-300:]
        return (SURVIVED, "") if differs else (SAME, "the compiled code is the same")

    def test(self, project: Project, witness: Witness, path: Path) -> Outcome:
        cpu = SPARE + 4 * float(self.unchanged[witness])
        return project.test(witness, self.killers.get(path, []), cpu, keep=False)

    def fails_unchanged(self, project: Project, witness: Witness) -> str:
        """Why these tests can decide nothing: they fail unchanged.  They run once."""
        if witness not in self.unchanged:
            before = os.times()
            outcome = project.test(witness, [], 3600, keep=True)
            after = os.times()
            seconds = after.children_user + after.children_system
            seconds -= before.children_user + before.children_system
            passed = outcome.code in (PASSED, NOTHING_CHOSEN)
            why = f"fails without any change: {' '.join(witness.tests)}: {killer_of(outcome)}"
            self.unchanged[witness] = seconds if passed else why
        seconds_or_why = self.unchanged[witness]
        return seconds_or_why if isinstance(seconds_or_why, str) else ""

    def note_killer(self, path: Path, outcome: Outcome) -> str:
        killer = killer_of(outcome)
        if "::" in killer:
            others = [k for k in self.killers.get(path, []) if k != killer]
            self.killers[path] = [killer, *others][:REMEMBERED]
        return killer
