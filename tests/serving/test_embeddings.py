"""Embeddings: the vectors of texts by a BERT, and by a model that answers."""

import base64
import struct

import numpy as np
import pytest
from running_server import Running

import minillm
from minillm.cli import main
from minillm.serving import app
from minillm.serving.embeddings import Embedder

PATH = "/v1/embeddings"
TEXTS = ["the cat", "a dog sat on the log . " * 4, "", "mat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("embeddings") / "encoder"
    sizes = {"layers": 1, "width": 8, "heads": 2, "context": 16, "vocabulary": 60}
    minillm.train("bert", path, text="the cat sat on the log . " * 60, steps=2, quiet=True, **sizes)
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    run = minillm.load(folder)
    with Running(app.EmbeddingServer("run", Embedder(run.tokenizer, run.embed))) as some:
        yield some, run


def vectors(server, asked, **values):
    status, answer = server.ask({"model": "run", "input": asked, **values}, PATH)
    assert status == 200, answer
    assert (answer["object"], answer["model"]) == ("list", "run")
    assert [entry["index"] for entry in answer["data"]] == list(range(len(answer["data"])))
    return [entry["embedding"] for entry in answer["data"]], answer["usage"]


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_the_vectors_of_an_encoder(encoder):
    server, run = encoder
    found, usage = vectors(server, TEXTS)
    np.testing.assert_allclose(found, unit(run.embed(TEXTS)), atol=1e-6)
    ids = [run.tokenizer.encode(text).tolist() for text in TEXTS]
    tokens = sum(map(len, ids))
    assert usage == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert vectors(server, [row for row in ids if row])[0] == [found[0], found[1], found[3]]
    assert vectors(server, "mat")[0] == vectors(server, ids[3])[0]
    np.testing.assert_allclose(vectors(server, "mat")[0], [found[3]], atol=1e-6)
    many, _ = vectors(server, TEXTS * 20)
    np.testing.assert_allclose(many, found * 20, atol=1e-6)


def test_the_vectors_of_a_model_that_answers_are_the_means_of_its_states(server, run):
    """Of a text that exceeds the context, of its beginning."""
    texts = ["the cat", "on the log, é😀", "x", "the dog sat on the log " * 5, "mat " * 1100]
    found, _ = vectors(server, texts)
    for text, vector in zip(texts, found, strict=True):
        y, _ = run.model.hidden(run.tokenizer.encode(text)[None, :1024])
        np.testing.assert_allclose(vector, unit(y[0].mean(axis=0)), atol=1e-5)


def test_bytes_in_base64_and_fewer_dimensions(encoder):
    server, run = encoder
    [plain], _ = vectors(server, "the cat")
    [written], _ = vectors(server, "the cat", encoding_format="base64")
    assert list(struct.unpack("<8f", base64.b64decode(written))) == plain
    [short], _ = vectors(server, "the cat", dimensions=3.0)
    np.testing.assert_allclose(short, unit(run.embed("the cat")[:3]), atol=1e-6)


def test_an_encoder_writes_no_text(encoder):
    server, _ = encoder
    for path in ("/v1/chat/completions", "/v1/completions"):
        assert server.ask({"model": "run"}, path)[0] == 404
    assert server.ask(None, "/v1/models/run", "GET")[0] == 200
    assert server.ask(None, "/", "GET")[0] == 404


def test_the_verb_serves_an_encoder(folder, capsys, served):
    assert main(["serve", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:1 answers as encoder; ")
    assert served[0].name == "encoder"
    assert served[0].embedder.vectors(["a"]).shape == (1, 8)
