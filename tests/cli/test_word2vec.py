"""Word vectors from the command line."""

import json
import shutil

import numpy as np
import pytest

from minillm.cli import main
from minillm.data.corpora import TextStream
from minillm.training import loop, word2vec

TINY = ["--dimension", "8", "--epochs", "3", "--minimum-count", "2", "--learning-rate", "0.1"]


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    """Sentences of two topics, whose words never occur together."""
    rng = np.random.default_rng(0)
    topics = (["red", "green", "blue", "black"], ["one", "two", "three", "four"])
    lines = [" ".join(rng.choice(topics[k % 2], 8)) for k in range(400)]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(lines) + "\nrare\n")
    return str(path)


@pytest.fixture
def small_blocks(monkeypatch):
    """Text streams are read in many blocks."""
    made = TextStream.__init__
    monkeypatch.setattr(TextStream, "__init__", lambda self, files: made(self, files, block=3000))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, text_file):
    folder = tmp_path_factory.mktemp("run") / "run"
    assert main(["train", "word2vec", text_file, "--out", str(folder), *TINY]) == 0
    return folder


def test_similar_analogy_eval_plot(run_folder, capsys):
    assert main(["similar", str(run_folder), "red", "--count", "3"]) == 0
    words = {line.split()[1] for line in capsys.readouterr().out.splitlines()}
    assert words == {"green", "blue", "black"}
    assert main(["similar", str(run_folder), "red", "blue"]) == 0
    assert float(capsys.readouterr().out) > 0.5
    assert main(["analogy", str(run_folder), "red", "blue", "one", "--count", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["eval", str(run_folder), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["known_words"] == 400 * 8
    assert 0 < results["nats_per_prediction"] < 6 * np.log(2)
    pytest.importorskip("matplotlib")
    for words in ([], ["red", "one", "two"]):
        assert main(["plot", "words", str(run_folder), *words]) == 0
        assert (run_folder / "words.png").read_bytes().startswith(b"\x89PNG")


def test_a_toy_text_is_told_what_it_loses(tmp_path, capsys):
    path, out = tmp_path / "text.txt", str(tmp_path / "run")
    path.write_text("the cat the dog the\nthe on the a the\n" + "on\n" * 4)
    command = ["train", "word2vec", str(path), "--out", out, "--epochs", "1"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert (
        "2 of 5 different words occur 5 times or more, 79% of the text; the others have no vector "
        "(minimum_count)\n"
    ) in printed
    assert "2 vectors; nothing was predicted" in printed
    assert main([*command, "--overwrite", "--minimum-count", "1", "--subsample", "0"]) == 0
    printed = capsys.readouterr().out
    assert "different words" not in printed
    assert "5 vectors; loss " in printed


def test_sets(tmp_path, run_folder, capsys, fails):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text(
        "# a remark\nword1\tword2\tscore\nred\tblue\t9\none,two,8\nred one 1\nred\tpink\t9\n"
    )
    assert main(["similar", str(run_folder), "--set", str(pairs)]) == 0
    assert "on 3 of 4 pairs (1 have an unknown word)" in capsys.readouterr().out
    questions = tmp_path / "questions.txt"
    questions.write_text(": colours\nred green red green\n: mixed\nred blue pink white\n")
    assert main(["analogy", str(run_folder), "--set", str(questions)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["colours", "mixed", "all"]
    assert "of 1 (0 with unknown words)" in lines[0]
    assert "0 of 0 (1 with unknown words)" in lines[1]
    questions.write_text(": colours\nred green red\n")
    message = fails("analogy", run_folder, "--set", questions)
    assert "line 2: expected four words" in message
    pairs.write_text("red blue 1\nred x\n")
    assert "line 2: expected two words" in fails("similar", run_folder, "--set", pairs)


@pytest.mark.parametrize(
    ("options", "algorithm"),
    [
        (["--negative", "0"], ["--algorithm", "skip-gram"]),
        (["--negative", "3"], ["--algorithm", "cbow"]),
    ],
)
def test_one_seed_gives_the_same_bits(tmp_path, text_file, options, algorithm):
    files = []
    for name in ("a", "b"):
        arguments = [*TINY, *options, *algorithm, "--out", str(tmp_path / name)]
        assert main(["train", "word2vec", text_file, *arguments]) == 0
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_a_long_line_is_several_sentences(monkeypatch):
    monkeypatch.setattr(word2vec, "LONGEST", 3)
    words = word2vec.WordCounts(["a", "b"], np.array([2, 1]), False)
    found = list(word2vec.encode_sentences(["a b a x b a a b\nb\n\nx\na b"], words))
    assert [(ids.tolist(), starts.tolist()) for ids, starts in found] == [
        ([0, 1, 0, 1, 0, 0, 1, 1, 0, 1], [0, 3, 6, 7, 8, 10])
    ]


def test_export_by_default_into_the_folder(run_folder, capsys, fails):
    assert main(["export", str(run_folder), "--format", "word2vec"]) == 0
    assert capsys.readouterr().out.strip() == str(run_folder / "vectors.txt")
    assert (run_folder / "vectors.txt").read_text().startswith("8 ")
    message = fails("export", run_folder, "--format", "arpa")
    assert "--format: a run of word2vec is exported as word2vec, found 'arpa'" in message


def test_bad_input(tmp_path, run_folder, text_file, fails):
    message = fails("similar", run_folder, "grean")
    assert "'grean' is not among the 8 that the model knows; did you mean green" in message
    assert "expected one word or two" in fails("similar", run_folder)
    assert "expected three words" in fails("analogy", run_folder, "red")
    out = tmp_path / "out"
    vectors = tmp_path / "vectors.bin"
    vectors.write_bytes(b"8 2\na \0\0\0\0")
    assert "word 1 of 8: expected a word, a space and" in fails("import", vectors, "--out", out)
    message = fails("train", "word2vec", text_file, "--out", out, "--minimum-count", 10**6)
    assert "expected at least 2 words that occur 1000000 times" in message
    assert not out.exists()
    other = tmp_path / "other"
    other.write_text("a b a b a b a b a b a b\n")
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    arguments = ("train", "word2vec", other, "--out", copy, "--resume")
    assert "the text has changed" in fails(*arguments)
    (copy / "vocabulary.json").write_text('{"format_version": 1, "words": ["a"]}')
    assert "vocabulary.json: it is damaged" in fails("similar", copy, "red")


def test_a_complete_run_is_said_to_be_so_and_goes_on_with_more_epochs(
    tmp_path, run_folder, capsys, fails
):
    """Resumed at once, or stopped halfway and resumed: the same bits."""
    folders = [shutil.copytree(run_folder, tmp_path / name) for name in ("a", "b")]
    before = (folders[0] / "model.safetensors").read_bytes()
    command = ("train", "word2vec", "--out", folders[0], "--resume")
    for epochs in ([], ["--epochs", "3"], ["--epochs", "1"]):
        message = fails(*command, *epochs)
        assert "the run is complete after 9,600 words, 0:0" in message
        assert message.endswith(": raise epochs to continue\n")
    assert (folders[0] / "model.safetensors").read_bytes() == before
    for folder in folders:
        assert main([*map(str, command[:3]), str(folder), "--resume", "--epochs", "6"]) == 0
        printed = capsys.readouterr().out
        assert "trained after 19,200 words" in printed
    models = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert models[0] == models[1] != before
    lines = (folders[0] / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps))
    assert steps[-1] == 19_200


@pytest.mark.usefixtures("small_blocks")
def test_longer_and_stopped_on_the_way_is_longer_at_once(tmp_path, run_folder, monkeypatch):
    monkeypatch.setattr(word2vec, "PART_WORDS", 1000)
    learned = word2vec.Word2Vec.learn
    models = []
    for stop in (None, 4):
        folder = shutil.copytree(run_folder, tmp_path / str(stop))
        calls = []

        def learn(*args, calls=calls, stop=stop, **options):
            calls.append(None)
            if len(calls) == stop:
                loop.signal.raise_signal(loop.signal.SIGINT)
            return learned(*args, **options)

        monkeypatch.setattr(word2vec.Word2Vec, "learn", learn)
        command = ["train", "word2vec", "--out", str(folder), "--resume"]
        assert main([*command, "--epochs", "6"]) == (130 if stop else 0)
        if stop:
            assert main(command) == 0
        models.append((folder / "model.safetensors").read_bytes())
    assert models[0] == models[1]
