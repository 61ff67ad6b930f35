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

CONTEXT = 32
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


@pytest.fixture
def answering(server, run):
    return server, run


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


def test_the_vectors_of_a_model_that_answers_are_the_means_of_its_states(answering):
    server, run = answering
    texts = ["the cat", "on the mat", "the dog sat on the log and the cat " * 5]
    found, _ = vectors(server, texts)
    for text, vector in zip(texts, found, strict=True):
        y, _ = run.model.hidden(run.tokenizer.encode(text)[None, :32])
        np.testing.assert_allclose(vector, unit(y[0].mean(axis=0)), atol=1e-5)


def test_bytes_in_base64_and_fewer_dimensions(encoder):
    server, run = encoder
    [plain], _ = vectors(server, "the cat")
    [written], _ = vectors(server, "the cat", encoding_format="base64")
    assert list(struct.unpack("<8f", base64.b64decode(written))) == plain
    [short], _ = vectors(server, "the cat", dimensions=3.0)
    np.testing.assert_allclose(short, unit(run.embed("the cat")[:3]), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"input": None}, "input", "input: expected a value, found None"),
        ({"input": []}, "input", "input: expected a text or a list of token ids, or a list of the"),
        ({"input": [[1], [10**9]]}, "input", "input[1][0]: expected int <= "),
        ({"input": ["a"] * 2049}, "input", "input: expected array of length <= 2048, found ['a'"),
        ({"dimensions": 9}, "dimensions", "dimensions: expected at most 8, found 9"),
        ({"dimensions": 0}, "dimensions", "dimensions: expected int >= 1, found 0"),
        ({"encoding_format": "int8"}, "encoding_format", "encoding_format: expected str matching "),
        ({"model": "other"}, "model", "model: expected 'run', found 'other'"),
    ],
)
def test_a_wrong_request(encoder, changes, param, message):
    status, answer = encoder[0].ask({"model": "run", "input": "a", **changes}, PATH)
    assert status == (404 if param == "model" else 400)
    assert answer["error"]["message"].startswith(message)
    assert answer["error"]["param"] == param


def test_a_text_without_tokens_has_no_mean(answering):
    status, answer = answering[0].ask({"model": "run", "input": ["a", ""]}, PATH)
    assert status == 400
    message = "input[1]: expected a text of a token or more, found ''"
    assert answer["error"]["message"] == message


def test_an_encoder_writes_no_text(encoder):
    server, _ = encoder
    for path in ("/v1/chat/completions", "/v1/completions"):
        assert server.ask({"model": "run"}, path)[0] == 404
    assert server.ask(None, "/v1/models/run", "GET")[0] == 200
    assert server.ask(None, "/", "GET")[0] == 404


def test_the_verb_serves_an_encoder(folder, capsys, monkeypatch):
    served = []

    def serve(server, host, port, started):
        started("http://127.0.0.1:1")
        served.append(server)

    monkeypatch.setattr(app, "serve", serve)
    assert main(["serve", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:1 answers as encoder; ")
    assert served[0].name == "encoder"
    assert served[0].embedder.vectors(["a"]).shape == (1, 8)


def test_the_client_of_openai(encoder):
    openai = pytest.importorskip("openai")
    server, run = encoder
    client = openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0)
    with client:
        for options in ({}, {"encoding_format": "float"}):
            answer = client.embeddings.create(model="run", input=TEXTS, **options)
            found = [entry.embedding for entry in answer.data]
            np.testing.assert_allclose(found, unit(run.embed(TEXTS)), atol=1e-6)
