"""The milestones: what is trained and measured, what is kept, and what is shown."""

import io
import json
import shutil
from contextlib import redirect_stdout

import pytest
import tiny
from tiny import stopped_after

import minillm
from benchmarks.studies import milestones, pictures
from minillm import plots
from minillm.cli import main
from minillm.training.language_model import LanguageModelTask

SMALL = {
    "ngram": {},
    "neural-ngram": {"hidden": 8, "embedding": 4, "batch": 4, "window": 8},
    "lm": {"hidden": 8, "batch": 4, "window": 8},
    "mamba": {"width": 8, "layers": 1, "batch": 4, "window": 8},
    "decoder": {"width": 8, "heads": 2, "layers": 1, "context": 8, "batch": 4},
    "gpt": {"width": 8, "heads": 2, "layers": 1, "context": 12, "batch": 4},
}


MODELS = milestones.MODELS


@pytest.fixture(autouse=True, scope="module")
def small():
    """Fewer n-grams, networks that are trained at once, and loss curves without contents."""
    models = {
        name: (kind, settings | SMALL[kind])
        for name, (kind, settings) in MODELS.items()
        if kind != "ngram" or settings["order"] in (1, 2, 10)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(milestones, "MODELS", models)
        patch.setattr(plots, "_png", lambda figure: b"")
        yield


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A folder with a text, and with all its milestones in ``out``; and what was printed."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "text.txt").write_text(tiny.TEXT)
    with redirect_stdout(io.StringIO()) as output:
        assert main(command(folder), milestones) == 0
    return folder, output.getvalue()


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(tiny.TEXT)
    return tmp_path


@pytest.fixture
def finished(whole, text):
    """A copy of that folder."""
    shutil.copytree(whole[0] / "out", text / "out")
    return text


def command(folder, *options, steps=4):
    out = str(folder / "out")
    return [str(folder / "text.txt"), "--out", out, "--steps", str(steps), *options]


def results(folder):
    return json.loads((folder / "out" / "milestones.json").read_text())


def without_times(record):
    times = ("seconds", "characters_per_second", "curve")
    kept = {name: value for name, value in record.items() if name not in times}
    return kept | {"bits": [bits for _, bits in record.get("curve", [])]}


def test_each_model_is_trained_and_measured_on_the_same_text(whole):
    text, output = whole
    found = results(text)
    assert [r["name"] for r in found["models"]] == list(milestones.MODELS)
    assert (found["text"], found["steps"], found["held_out"]) == ("text.txt", 4, 306)
    assert found["characters"] == len(tiny.TEXT)
    for record in found["models"]:
        run = minillm.load(text / "out" / record["name"])
        measured = run.evaluate()
        assert measured["bits_per_character"] == record["bits_per_character"]
        assert measured["text"] == f"the held-out end of {text / 'text.txt'}"
        assert 306 - measured["tokens"] <= 2  # the first, and the rest of two streams
        assert record["seconds"] > 0
        assert record["characters_per_second"] > 0
        assert 0 < len(record["sample"]) <= milestones.SAMPLE
        if run.kind.resumable:
            assert record["weights"] == sum(a.size for a in run.model.params.values())
            assert len(record["curve"]) == 4
            lowest = min(bits for _, bits in record["curve"])
            assert lowest == pytest.approx(record["bits_per_character"], abs=1e-3)
        else:
            assert "curve" not in record
            assert record["weights"] >= sum(run.model.config.sizes)
        assert f"| {record['name']} | {record['bits_per_character']:.4f} | " in output
        assert f"\n{record['name']}: {record['bits_per_character']:.4f} bits" in f"\n{output}"
    table = (text / "out" / "milestones.md").read_text()
    assert table in output
    assert "on the last 306 of its 3,060 characters; each network was trained for 4 steps" in table
    assert "the best n-gram is the 10-gram, with " in table


def test_the_losses_are_drawn(whole):
    pytest.importorskip("matplotlib")
    text, output = whole
    assert b"<svg" in (text / "out" / "milestones.svg").read_bytes()
    assert f"losses by time: {text / 'out' / 'milestones.svg'}\n" in output


def test_what_is_finished_is_kept(finished, monkeypatch):
    before = (finished / "out" / "milestones.json").read_bytes()
    monkeypatch.setattr(milestones, "train_run", None)  # it is not called
    assert main(command(finished), milestones) == 0
    assert (finished / "out" / "milestones.json").read_bytes() == before
    # The last run was finished, and its figures were not: a kill came between.
    cut = results(finished)
    lost = cut["models"].pop()
    (finished / "out" / "milestones.json").write_text(json.dumps(cut))
    assert main(command(finished), milestones) == 0
    assert results(finished)["models"][-1] == lost


@pytest.mark.deep
def test_an_interrupted_one_goes_on_with_the_same_results(whole, text, capsys):
    stopped_after(6, command(text), LanguageModelTask, milestones)  # within the rnn
    assert "to continue: the same command again" in capsys.readouterr().out
    assert [r["name"] for r in results(text)["models"]][-1] == "neural-n-gram"
    assert milestones.summary_of(text / "out" / "rnn").step == 2
    assert main(command(text), milestones) == 0
    expected = results(whole[0])["models"]
    assert list(map(without_times, results(text)["models"])) == list(map(without_times, expected))


def test_other_milestones_need_another_folder(finished, capsys):
    path = finished / "out" / "milestones.json"
    before = path.read_bytes()
    assert main([*command(finished), "--seed", "1"], milestones) == 2
    line = capsys.readouterr().err
    assert "expected milestones with seed 1, found 0" in line
    assert "give another --out, or delete the folder" in line
    assert path.read_bytes() == before
    for damaged, message in (
        (before[:50], "milestones.json: expected JSON"),
        (before.replace(b"1-gram", b"0-gram"), "expected the models 1-gram, "),
        (before.replace(b'"models": [', b'"models": 3, "x": ['), "milestones.json: "),
    ):
        path.write_bytes(damaged)
        assert main(command(finished), milestones) == 2
        assert message in capsys.readouterr().err
    path.write_bytes(before)
    (finished / "text.txt").write_text(tiny.TEXT + "more\n")
    assert main(command(finished), milestones) == 2
    assert "expected milestones with sha256" in capsys.readouterr().err


# --- what is shown -----------------------------------------------------------------------------


def record(name, bits, **more):
    figures = {"weights": 1234, "seconds": 0.25, "characters_per_second": 1e6, "sample": "a"}
    return {"name": name, "bits_per_character": bits, **figures, **more}


def test_a_sample_breaks_no_table():
    rows = milestones.table([record("rnn", 2.0, sample="a | `b`", seconds=150.4)]).splitlines()
    assert rows[2] == "| rnn | 2.0000 | 1,234 | 150 | 1,000,000.0 | `` a \\| `b` `` |"


def test_the_networks_are_set_beside_the_best_n_gram():
    models = [record("1-gram", 4.5), record("10-gram", 1.5), record("rnn", 2.0)]
    line = milestones.verdict(models)
    assert line == "the best n-gram is the 10-gram, with 1.5000; better than it: no network"
    models += [record("lstm", 1.4), record("gpt", 1.3)]
    assert milestones.verdict(models).endswith("; better than it: gpt, lstm")


@pytest.mark.deep
def test_the_picture_takes_the_colours_of_its_page():
    pytest.importorskip("matplotlib")
    names = ("neural-n-gram", "rnn", "lstm", "gru", "gpt")
    curves = [[(6 * t, 2.0 - 0.05 * k + 1 / t) for t in range(1, 9)] for k in range(5)]
    lines = [
        record(name, curve[-1][1], curve=curve) for name, curve in zip(names, curves, strict=True)
    ]
    marks = [record(f"{n}-gram", 1.8 + 1 / n**1.5) for n in range(1, 11)]
    for models in (lines, marks, marks[:1], []):
        assert pictures.milestones(models).startswith(b"<svg ")
    svg = pictures.milestones([*marks, *lines])
    assert svg == pictures.milestones([*marks, *lines])  # no date, no random names
    text = svg.decode()
    assert "#000000" not in text
    assert "fill: white" not in text
    for name in (*names, "10-gram", "2-gram"):  # the best n-gram, and those that have room
        assert f">{name}</text>" in text
    assert ">9-gram</text>" not in text
    for colour in ("first", "second", "third", "fourth"):
        assert f"var(--{colour}, #" in text
