"""Word vectors: what a text loses, and trainings that go on."""

import numpy as np
import pytest

import minillm
from minillm.data.corpora import TextStream
from minillm.errors import InputError
from minillm.training import loop, word2vec

TINY = {"dimension": 8, "epochs": 3, "minimum_count": 2, "learning_rate": 0.1, "quiet": True}


@pytest.fixture(scope="module")
def topics():
    """Sentences of two topics, whose words never occur together."""
    rng = np.random.default_rng(0)
    words = (["red", "green", "blue", "black"], ["one", "two", "three", "four"])
    return "\n".join(" ".join(rng.choice(words[k % 2], 8)) for k in range(400)) + "\nrare\n"


@pytest.fixture(scope="module")
def trained(topics, tmp_path_factory):
    return minillm.train("word2vec", tmp_path_factory.mktemp("run") / "run", text=topics, **TINY)


def test_words_of_a_topic_are_alike(trained):
    words = {word for word, _ in trained.vectors.most_similar("red", topn=3)}
    assert words == {"green", "blue", "black"}
    results = trained.evaluate()
    assert results["known_words"] == 400 * 8
    assert 0 < results["nats_per_prediction"] < 6 * np.log(2)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"minimum_count": 5},
            "2 of 5 different words occur 5 times or more, 79% of the text; the others have no "
            "vector (minimum_count)",
        ),
        ({"minimum_count": 1, "subsample": 0}, "5 vectors; loss "),
    ],
)
def test_a_toy_text_is_told_what_it_loses(options, line):
    told, text = [], "the cat the dog the\nthe on the a the\n" + "on\n" * 4
    minillm.train("word2vec", text=text, epochs=1, report=told.append, **options)
    assert any(one.startswith(line) for one in told)
    assert any("different words" in one for one in told) == (options["minimum_count"] > 1)


def test_a_long_line_is_several_sentences(monkeypatch):
    monkeypatch.setattr(word2vec, "LONGEST", 3)
    words = word2vec.WordCounts(["a", "b"], np.array([2, 1]), False)
    found = list(word2vec.encode_sentences(["a b a x b a a b\nb\n\nx\na b"], words))
    assert [(ids.tolist(), starts.tolist()) for ids, starts in found] == [
        ([0, 1, 0, 1, 0, 0, 1, 1, 0, 1], [0, 3, 6, 7, 8, 10])
    ]


@pytest.mark.parametrize("epochs", [{}, {"epochs": 3}, {"epochs": 1}])
def test_a_complete_run_is_said_to_be_so(epochs, trained, tmp_path):
    trained.save(tmp_path / "run")
    complete = r"the run is complete after 9,600 words, 0:0.*: raise epochs to continue$"
    with pytest.raises(InputError, match=complete):
        minillm.train("word2vec", tmp_path / "run", resume=True, **epochs)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        trained.path / "model.safetensors"
    ).read_bytes()


def test_a_run_that_fails_before_its_first_checkpoint_goes_on(
    topics, trained, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(word2vec.Word2Vec, "learn", None)
        with pytest.raises(TypeError):
            minillm.train("word2vec", tmp_path / "run", text=topics, **TINY)
    run = minillm.train("word2vec", tmp_path / "run", resume=True, quiet=True)
    np.testing.assert_array_equal(run.model.params["vectors"], trained.model.params["vectors"])


def test_more_epochs_at_once_or_stopped_on_the_way(trained, tmp_path, monkeypatch):
    """Of a text that is read in many blocks: the same bits."""
    made, learned, models = TextStream.__init__, word2vec.Word2Vec.learn, []
    monkeypatch.setattr(TextStream, "__init__", lambda self, files: made(self, files, block=3000))
    monkeypatch.setattr(word2vec, "PART_WORDS", 1000)
    for stop in (None, 4):
        out, calls = tmp_path / str(stop), []
        trained.save(out)

        def learn(*args, calls=calls, stop=stop, **options):
            calls.append(None)
            if len(calls) == stop:
                loop.signal.raise_signal(loop.signal.SIGINT)
            return learned(*args, **options)

        monkeypatch.setattr(word2vec.Word2Vec, "learn", learn)
        run = minillm.train("word2vec", out, resume=True, epochs=6, quiet=True)
        if stop:
            run = minillm.train("word2vec", out, resume=True, quiet=True)
        models.append((out / "model.safetensors").read_bytes())
        steps = [record["step"] for record in run.folder.read_metrics()]
        assert steps == sorted(set(steps))
        assert steps[-1] == 19_200
    assert models[0] == models[1] != (trained.path / "model.safetensors").read_bytes()
