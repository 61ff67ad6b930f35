"""Exercises in which a bug is to be found: graded by the mend, and by the kind of the fault."""

import itertools
import re
import runpy

import pytest

from minillm.cli import main
from minillm.exercises import desk, exercises
from minillm.exercises.answering import cases, reports
from minillm.exercises.declaration import FAULTS

FIND = [exercise for exercise in exercises().values() if exercise.bugs]
BUGS = [
    pytest.param(exercise, variant, id=f"{exercise.name}-{variant}")
    for exercise in FIND
    for variant in range(len(exercise.bugs))
]


@pytest.fixture(scope="module")
def reports_on(tmp_path_factory):
    """Yield the reports on a source; in this process, which is faster, and once for each."""
    path, known = tmp_path_factory.mktemp("find") / "file.py", {}

    def found(exercise, source):
        if source not in known:
            path.write_text(exercise.hole.replace(exercise.source, source))
            function = runpy.run_path(str(path))[exercise.function]
            known[source] = reports(exercise, function, cases(exercise))
        known[source], copy = itertools.tee(known[source])
        yield from copy

    return found


def told(exercise, found, fault, entry):
    """The verdict on reports whose FAULT is this one."""
    given = (report | {"fault": fault} if "fault" in report else report for report in found)
    return desk.verdict(exercise, given, entry)


@pytest.mark.parametrize(("exercise", "variant"), BUGS)
def test_a_bug_is_found_by_its_mend_and_its_kind(reports_on, exercise, variant):
    exercise, entry = exercise.with_bug(variant), desk.new_entry()
    bug = exercise.bugs[variant]
    assert exercise.right.count(bug.right) == 1
    assert bug.fault in FAULTS
    for _ in range(2):  # for both hints
        found = reports_on(exercise, exercise.source)
        right, report = told(exercise, found, bug.fault, entry)
    assert not right
    assert ("the gradient d" in report) is bool(exercise.gradients)
    assert bug.hint in report
    assert "\nline " not in report  # to find the line is the exercise
    for fault in (bug.fault, next(fault for fault in FAULTS if fault != bug.fault)):
        right, report = told(exercise, reports_on(exercise, exercise.right), fault, entry)
        assert right is (fault == bug.fault), report
    assert f"FAULT is {fault!r}" in report


def test_each_bug_of_a_forward_pass_has_a_first_hint_of_its_own():
    """It leads to the line without its text.  Where gradients are wrong, they lead there."""
    for exercise in FIND:
        leads = [bug.lead for bug in exercise.bugs]
        if exercise.gradients:
            assert not any(leads)
        else:
            assert all(leads)
            assert len(set(leads)) == len(leads)
            assert not any(bug.right.strip() in bug.lead for bug in exercise.bugs)


def test_a_mend_that_raises_is_an_attempt_with_a_hint(reports_on):
    exercise, entry = exercises()["find-swiglu"].with_bug(4), desk.new_entry()
    source = exercise.source.replace("dg = dy @ U", "dg = dy.T @ U")
    _, report = told(exercise, reports_on(exercise, source), ..., entry)
    assert entry["attempts"] == 1
    assert "hint: " in report


def test_a_repeated_id_is_not_taken_for_a_last_step(reports_on):
    exercise = exercises()["find-skip-gram"].with_bug(0)
    _, report = told(exercise, reports_on(exercise, exercise.source), "path", desk.new_entry())
    assert "last index" not in report


def test_a_file_has_the_bug_of_its_folder_and_keeps_it(tmp_path, monkeypatch, capsys):
    exercise = exercises()["find-lstm"]
    variants = set()
    for student in "abcdefgh":
        path = desk.write(exercise, tmp_path / student)
        given = desk.as_written(exercise, path)
        assert given.source in path.read_text()
        path = path.rename(tmp_path / path.name)  # collected in another folder
        assert desk.as_written(exercise, path).variant == given.variant
        path.unlink()
        variants.add(given.variant)
    assert len(variants) > 2
    monkeypatch.chdir(tmp_path)
    assert main(["exercise", "find-lstm"]) == 0
    path = tmp_path / "exercises/find_lstm.py"
    given = desk.as_written(exercise, path)
    assert main(["exercise", "find-lstm", "--check"]) == 1
    assert main(["exercise", "find-lstm", "--solution"]) == 0
    mended = path.read_text().replace(given.source, given.right)
    path.write_text(mended)
    assert main(["exercise", "find-lstm", "--check"]) == 1
    path.write_text(mended.replace("FAULT = ...", f"FAULT = {given.bugs[given.variant].fault!r}"))
    assert main(["exercise", "find-lstm", "--check"]) == 0
    assert re.search(r"find-lstm: right, in \d cases", capsys.readouterr().out)
