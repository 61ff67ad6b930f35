"""Exercises in which a bug is to be found: graded by the mend, and by the kind of the fault."""

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


def checked(tmp_path, exercise, source, fault, times=1):
    """Judge a file, twice for both hints; in this process, which is faster."""
    path = tmp_path / "file.py"
    path.write_text(exercise.hole.replace(exercise.source, source).replace("...", repr(fault), 1))
    defined, entry, drawn = runpy.run_path(str(path)), desk.new_entry(), cases(exercise)
    for _ in range(times):
        given = reports(exercise, defined[exercise.function], drawn, defined["FAULT"])
        right, report = desk.verdict(exercise, given, entry)
    return right, report


@pytest.mark.parametrize(("exercise", "variant"), BUGS)
def test_a_bug_is_found_by_its_mend_and_its_kind(tmp_path, exercise, variant):
    exercise = exercise.with_bug(variant)
    bug = exercise.bugs[variant]
    assert exercise.right.count(bug.right) == 1
    assert bug.fault in FAULTS
    right, report = checked(tmp_path, exercise, exercise.source, bug.fault, times=2)
    assert not right
    assert ("the gradient d" in report) is bool(exercise.gradients)
    assert bug.hint in report
    for fault in (bug.fault, next(fault for fault in FAULTS if fault != bug.fault)):
        right, report = checked(tmp_path, exercise, exercise.right, fault)
        assert right is (fault == bug.fault), report
    assert f"FAULT is {fault!r}" in report


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
