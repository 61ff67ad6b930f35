"""A class: a folder for each student, graded at once."""

import csv
import io

import pytest

from minillm.cli import main
from minillm.exercises import desk, exercises
from minillm.exercises.classroom import grade_all

from .answers import ANSWERS

LINEAR = next(answer for answer in ANSWERS if answer.exercise == "linear")


@pytest.fixture
def group(tmp_path):
    """Three students: one is right, one wrong, and one has handed in nothing."""
    linear, find = exercises()["linear"], exercises()["find-two-layers"]
    path = desk.write(linear, tmp_path / "alice")
    path.write_text(path.read_text().replace(linear.source, LINEAR.filled(linear.source)))
    path = desk.write(linear, tmp_path / "bob, jr" / "exercises")
    path.write_text("import os\nos._exit(0)\n")
    path = desk.write(find, tmp_path / "bob, jr" / "exercises")
    given = desk.as_written(find, path)
    text = path.read_text().replace(given.source, given.right)
    path.write_text(text.replace("FAULT = ...", f"FAULT = {given.bugs[given.variant].fault!r}"))
    (tmp_path / "carol").mkdir()
    (tmp_path / "carol/square.py").write_text("def sqare(x): pass\n")
    (tmp_path / "notes.txt").write_text("")
    return tmp_path


def test_a_table_and_csv_of_a_class(group, capsys, monkeypatch):
    grades = grade_all(exercises(), group)
    monkeypatch.setattr("minillm.exercises.classroom.grade_all", lambda known, folder: grades)
    assert main(["grade", str(group)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["alice", "bob,", "jr", "carol"]
    rows = {line.split()[0]: line.split() for line in lines[1:]}
    assert rows["linear"] == ["linear", "*", "right", "wrong", "-"]
    assert rows["find-two-layers"][2:] == ["-", "right", "-"]
    assert rows["square"][2:] == ["-", "-", "wrong"]
    assert rows["right"][-3:] == ["1", "1", "0"]
    assert main(["grade", str(group), "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["student"] for row in table] == ["alice", "bob, jr", "carol"]
    assert [row["linear"] for row in table] == ["right", "wrong", ""]
    assert set(table[0]) == {"student", "right", *exercises()}
    assert not list(group.glob("**/progress.json"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "expected a folder with a folder for each student, found nothing"),
        ("notes.txt", "expected a folder with a folder for each student, found a file"),
        ("alice", "such as linear.py, found 0 folders without such files"),
    ],
)
def test_a_folder_without_students_is_told_in_one_line(group, capsys, path, message):
    assert main(["grade", str(group / path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
