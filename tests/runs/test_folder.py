import errno
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import tiny
from safetensors.numpy import save_file
from waiting import deadline

from minillm.errors import InputError
from minillm.formats.tensors import PIECE, open_tensors
from minillm.runs.folder import LOCK, RunFolder

PARAMS = {"a.W": np.arange(6, dtype=np.float32).reshape(2, 3), "a.b": np.ones(3)}


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin()
    folder.save_json("config.json", {"kind": "lm"})
    folder.save_model(PARAMS, {"step": 3})
    folder.save_resume({"x": PARAMS["a.W"].T}, {"big": 2**100, "pi": 0.1 + 0.2})
    return folder


def empty():
    return {name: np.zeros_like(p) for name, p in PARAMS.items()}


def test_what_is_saved_comes_back(folder):
    assert folder.load_json("config.json") == {"kind": "lm"}
    params = folder.load_model()
    assert params.keys() == PARAMS.keys()
    assert all(np.array_equal(params[name], PARAMS[name]) for name in PARAMS)
    arrays, values = folder.load_resume()
    assert np.array_equal(arrays["x"], PARAMS["a.W"].T)
    assert values == {"big": 2**100, "pi": 0.1 + 0.2}


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_an_old_run_stays_until_the_new_one_is_whole(folder):
    (folder.path / "notes.txt").write_text("mine")
    folder.append_metrics({"step": 1})
    before = contents(folder.path)
    new = RunFolder(folder.path)
    with new.held():
        new.begin()
        new.save_json("vocabulary.json", {"new": 1})
        new.save_resume({}, {"step": 0})
        new.save_json("config.json", {"kind": "new"})
        new.append_metrics({"step": 9})
        assert {k: v for k, v in tiny.contents(folder.path).items() if k in before} == before
        new.save_model(PARAMS, {"step": 5})
        new.save_resume({}, {"step": 5})
        assert folder.load_json("config.json") == {"kind": "new"}
        new.append_metrics({"step": 10})
    assert new.load_json("config.json") == {"kind": "new"}
    assert [record["step"] for record in new.read_metrics()] == [9, 10]
    names = {"notes.txt", "metrics.jsonl", "vocabulary.json", "config.json"}
    assert contents(folder.path).keys() == names | {"model.safetensors", "resume.safetensors"}


def test_a_new_run_that_comes_to_nothing_leaves_the_old_one(folder):
    before = contents(folder.path)
    new = RunFolder(folder.path)
    with pytest.raises(Killed), new.held():  # noqa: PT012
        new.begin()
        new.save_model(PARAMS, {})
        raise Killed
    assert contents(folder.path) == before


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(1, 41))
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_run(folder, monkeypatch, moment):
    """Each call that changes the folder is the last one, in turn."""
    folder.append_metrics({"step": 1})  # which the new run has not
    old = contents(folder.path)
    calls = [0]
    with monkeypatch.context() as patch:
        for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
            real = getattr(os, name)

            def last(*args, real=real, **options):
                calls[0] += 1
                if calls[0] >= moment:
                    raise Killed
                return real(*args, **options)

            patch.setattr(os, name, last)
        try:
            replace_by_a_new_run(folder.path)
        except Killed:
            assert moment < 40, "there are more moments than these"
        else:
            assert calls[0] < moment, "a kill was swallowed"
    seen = RunFolder(folder.path)
    seen.settle()
    with seen.held():  # the next start
        assert {path.name for path in folder.path.glob(".*")} <= {LOCK}
    left = contents(folder.path)
    new = left["config.json"] != old["config.json"]
    if not new:
        assert left == old
        return
    assert left.keys() == {"config.json", "vocabulary.json", "model.safetensors"}
    assert seen.load_json("vocabulary.json") == {"new": 1}
    assert seen.load_model().keys() == PARAMS.keys()


def replace_by_a_new_run(path):
    new = RunFolder(path)
    with new.held():
        new.begin()
        new.save_json("vocabulary.json", {"new": 1})
        new.save_model(PARAMS, {"step": 5})
        new.save_json("config.json", {"kind": "new"})


DEEP = '{"format_version": 1, "x": ' + "[" * 100_000
OTHER_VERSION = '{"format_version": 2}'


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "expected JSON"),
        ("{", "expected JSON"),
        ("\xff", "expected"),
        ("[]", "expected a JSON object"),
        (OTHER_VERSION, "expected format version 1, found 2"),
        (DEEP, "maximum recursion depth"),
    ],
    ids=range(6),
)
def test_damaged_json_is_named(folder, content, complaint):
    (folder.path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=rf"config\.json: .*{complaint}"):
        folder.load_json("config.json")


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        (None, "expected format version 1, found None"),
        (OTHER_VERSION, "expected format version 1, found 2"),
        ("[]", "its metadata: expected a JSON object, found"),
        (DEEP, "its metadata: .*maximum recursion depth"),
    ],
    ids=range(4),
)
def test_damaged_metadata_are_named(folder, metadata, complaint):
    save_file(PARAMS, folder.path / "model.safetensors", metadata and {"minillm": metadata})
    with pytest.raises(InputError, match=rf"model\.safetensors: {complaint}"):
        folder.load_model()


def test_truncated_files_are_named(folder):
    for name, kept, load in (
        ("model.safetensors", 0, folder.load_model),
        ("resume.safetensors", -1, folder.load_resume),
    ):
        path = folder.path / name
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(InputError, match=f"{name}: expected a safetensors file"):
            load()


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(InputError, match="no run in it"):
        RunFolder(tmp_path).load_json("config.json")
    with pytest.raises(InputError, match=r"vocabulary.json: the file is missing"):
        folder.load_json("vocabulary.json")
    (folder.path / "resume.safetensors").unlink()
    (folder.path / "resume.safetensors").mkdir()
    with pytest.raises(InputError, match=r"resume.safetensors: "):
        folder.load_resume()
    (folder.path / "resume.safetensors").rmdir()
    with pytest.raises(InputError, match=r"resume.safetensors: the file is missing"):
        folder.load_resume()
    (folder.path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="first validation"):
        folder.load_model()


@pytest.mark.parametrize("call", ["builtins.open", "os.fsync", "os.replace"])
def test_a_full_disk_leaves_the_last_good_file(folder, monkeypatch, call):
    path = folder.path / "model.safetensors"
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a name that nobody gave")

    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        with pytest.raises(OSError, match="No space left") as error:
            folder.save_model(empty(), {})
    assert error.value.filename == str(path)
    assert path.read_bytes() == before
    assert not list(folder.path.glob(".*"))


def test_metrics_drop_what_a_kill_cut_short_and_what_resuming_repeats(folder):
    for step in range(1, 6):
        folder.append_metrics({"step": step, "loss": 0.5})
    folder.append_metrics({"step": 6, "loss": 1e300})
    path = folder.path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 7, "lo')
    assert [record["step"] for record in folder.read_metrics()] == [1, 2, 3, 4, 5, 6]
    folder.trim_metrics(3)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(InputError, match="line 2"):
        folder.read_metrics()


NUMBERS = "expected a whole number as 'step', and numbers as losses, found {"


# --- files of any shape ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[]", "expected a JSON object, found []"),
        ("null", "expected a JSON object, found None"),
        ('{"loss": 1}', NUMBERS),
        ('{"step": 1.5}', NUMBERS),
        ('{"step": -1}', NUMBERS),
        ('{"step": 2, "loss": "1"}', NUMBERS),
        ('{"step": 2, "seconds": 1' + "0" * 400 + "}", NUMBERS),
        ('{"step": 2, "loss": 1.1e300}', NUMBERS),  # a plot multiplies it
        ('{"step": 2, "loss": ' + "9" * 5000 + "}", "expected JSON"),
        ("[" * 100_000, "maximum recursion depth"),
        ("\udcff", "expected JSON"),
    ],
)
def test_lines_of_metrics_that_are_none(folder, line, complaint):
    text = '{"step": 1}\n' + line + "\n"
    (folder.path / "metrics.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: ") as caught:
        folder.read_metrics()
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_null(folder, loss):
    folder.append_metrics({"step": 1, "validation_loss": loss})
    folder.trim_metrics(1)
    assert '"validation_loss": null' in (folder.path / "metrics.jsonl").read_text()
    assert math.isnan(folder.read_metrics()[0]["validation_loss"])


def test_json_that_is_too_large(folder, monkeypatch):
    monkeypatch.setattr("minillm.data.files.LARGEST_JSON", 10)
    with pytest.raises(InputError, match=r"config.json: expected at most 10 bytes, found more"):
        folder.load_json("config.json")


def test_weights_that_are_not_finite_are_named(folder):
    for value in (np.nan, np.inf):
        W = PARAMS["a.W"].copy()
        W[1, 2] = value
        folder.save_model(PARAMS | {"a.W": W}, {})
        with pytest.raises(InputError, match=r"safetensors: the tensor 'a.W': expected finite"):
            folder.load_model()


def test_a_loop_of_links_is_no_file(folder):
    path = folder.path / "vocabulary.json"
    path.symlink_to(path)
    with pytest.raises(InputError):
        folder.load_json("vocabulary.json")


def test_weights_are_read_in_pieces(tmp_path):
    folder = RunFolder(tmp_path)
    expected = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "empty": np.zeros(0, np.int32),
        "no rows": np.zeros((0, 4), np.float64),
        "no columns": np.zeros((4, 0), np.int8),
        "one": np.array(7, np.int64),
        "wide": np.arange(3 * (PIECE + 1), dtype=np.uint8).reshape(3, -1),
        "long": np.arange(2 * (3 * PIECE + 1), dtype=np.float32).reshape(-1, 2),
    }
    folder.save_model(expected, {})
    read = folder.load_model()
    for name, array in expected.items():
        assert np.array_equal(read[name], array)
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)


def test_a_run_is_no_part_of_its_files(tmp_path):
    """A part that was mapped would end the process, with SIGBUS, when the file is cut short."""
    program = """
import os, sys
import minillm
minillm.train("ngram", sys.argv[1], text="a b c d\\n" * 100, quiet=True)
run = minillm.load(sys.argv[1])
before = run.evaluate(text="a b c e\\n")
os.truncate(run.folder.model_path, 0)
print(run.evaluate(text="a b c e\\n") == before)
"""
    command = [sys.executable, "-c", program, tmp_path / "run"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stdout) == (0, "True\n")


def test_a_file_that_is_cut_short_while_it_is_read(folder):
    path = folder.path / "model.safetensors"
    tensors, _ = open_tensors(path)
    os.truncate(path, path.stat().st_size - 1)
    last = max(tensors.values(), key=lambda tensor: tensor.begin)
    with pytest.raises(InputError, match=r"model.safetensors: it has been cut short since it was"):
        last.read()
    path.unlink()
    with pytest.raises(InputError, match=r"model.safetensors: there is no such file"):
        last.read()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("config.json", lambda folder: folder.load_json("config.json")),
        ("model.safetensors", RunFolder.load_model),
        ("model.safetensors", RunFolder.fingerprint),
    ],
)
def test_a_pipe_with_the_name_of_a_file_is_not_waited_for(folder, name, load):
    (folder.path / name).unlink(missing_ok=True)
    os.mkfifo(folder.path / name)
    with deadline(), pytest.raises(InputError, match=f"{name}: expected a regular file, found a"):
        load(folder)


def test_a_path_in_the_folder_holds_when_it_has_been_moved(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.attached = {"given.txt": tmp_path / "a.txt"}
    inside, outside = str(tmp_path / "run" / "given.jsonl"), str(tmp_path / "runs.txt")
    files = [str(tmp_path / "a.txt"), inside, outside, "built-in"]
    stored = json.loads(json.dumps(folder.portable({"files": files, "documents": True, "n": None})))
    moved = RunFolder(tmp_path / "moved").located(stored)
    own = [str(tmp_path / "moved" / name) for name in ("given.txt", "given.jsonl")]
    assert moved == {"files": [*own, outside, "built-in"], "documents": True, "n": None}
