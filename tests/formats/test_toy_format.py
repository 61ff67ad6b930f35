"""A format that is declared in one file goes through every command."""

import sys
from pathlib import Path

import pytest

import minillm
from minillm import formats
from minillm.cli import main
from minillm.formats.format import formats as declared_formats

TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n" * 20

FORMAT = '''"""An n-gram model as an ARPA file behind a line with a title."""

from pathlib import Path

from minillm.formats import arpa
from minillm.formats.format import Format
from minillm.models.ngram import NGram


def read(path):
    body = Path(path).with_suffix(".body")
    body.write_bytes(Path(path).read_bytes().partition(b"\\n")[2])
    return arpa.read(body)


def write(contents, path):
    arpa.write(contents, path)
    data = Path(path).read_bytes()
    Path(path).write_bytes(b"toy cats\\n" + data)


FORMATS = (
    Format(
        name="toy-counts",
        models=(NGram,),
        read=read,
        write=write,
        recognises=lambda path, head: head.startswith(b"toy "),
        default="model.toy",
        signature="a toy-counts file, which begins with toy",
        suffix=".toy",
    ),
)
'''


@pytest.fixture(autouse=True)
def toy_counts(tmp_path, monkeypatch):
    folder = tmp_path / "formats"
    folder.mkdir()
    (folder / "toy_counts.py").write_text(FORMAT)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, "minillm.cli.files", raising=False)  # it lists them once
    yield
    sys.modules.pop("minillm.formats.toy_counts", None)


@pytest.fixture
def run(tmp_path):
    return minillm.train("ngram", tmp_path / "run", text=TEXT, order=2)


def test_a_toy_format_goes_through_every_command(run, tmp_path, capsys):
    file, back = str(tmp_path / "counts.toy"), str(tmp_path / "back")
    assert main(["export", str(run.path), file]) == 0
    assert Path(file).read_bytes().startswith(b"toy cats\n")
    assert main(["import", file, "--out", back]) == 0
    capsys.readouterr()
    expected = run.evaluate(text=TEXT)
    for path in (back, file):  # the file itself may take the place of a run
        assert minillm.load(path).evaluate(text=TEXT) == pytest.approx(expected)
    assert main(["export", str(run.path), "--format", "toy-counts"]) == 0
    assert (run.path / "model.toy").read_bytes().startswith(b"toy cats\n")
    assert run.export().name == "model.arpa"  # a format without a suffix comes first


def test_messages_know_it(run, tmp_path, capsys):
    other = tmp_path / "other"
    other.write_text("something else")
    assert main(["import", str(other), "--out", str(tmp_path / "y")]) == 2
    assert "a toy-counts file, which begins with toy" in capsys.readouterr().err
    assert main(["export", str(run.path), "--format", "huggingface"]) == 2
    assert "a run of ngram is exported as arpa or toy-counts, found" in capsys.readouterr().err


def test_kinds_and_verbs_name_no_format():
    names = {one.read.__module__.rpartition(".")[2] for one in declared_formats()}
    package = Path(minillm.__path__[0])
    pages = [*package.glob("runs/kinds/*.py"), package / "cli/files.py", package / "runs/run.py"]
    for path in pages:
        text = path.read_text("utf-8")
        for name in names - {"word2vec"}:  # a kind offers gensim's method of this name
            assert f"formats.{name} " not in text, path
