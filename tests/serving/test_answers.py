"""Answers: texts whole and in events, several choices, log-probabilities, echo and penalties."""

import queue
from functools import partial

import numpy as np
import pytest
from chatting import TOKENIZER, system, user
from running_server import expected

from minillm.decoding import Continuation, Reader, Sampling, write
from minillm.decoding.sampling import biased, less_often
from minillm.decoding.speculation import Speculation
from minillm.ops.softmax import log_softmax
from minillm.serving import forms
from minillm.serving.engine import Engine, Job

TALK = [user("the cat")]
CHAT = {"model": "run", "messages": TALK, "temperature": 0, "max_tokens": 8}
TEXT = {"model": "run", "temperature": 0, "max_tokens": 5}
COMPLETIONS = "/v1/completions"


def choices(server, values, path="/v1/chat/completions"):
    status, answer = server.ask(values, path)
    assert status == 200, answer
    assert answer["object"] == ("chat.completion" if "chat" in path else "text_completion")
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(answer["choices"])))
    return answer["choices"]


def streamed(server, values, path="/v1/chat/completions"):
    """The parts of each choice of a stream, by its number."""
    parts = {}
    for event in server.events(values, path):
        for choice in event["choices"]:
            parts.setdefault(choice["index"], []).append(choice)
    return parts


def written(run, prompt, length=5):
    return "".join(run.write(prompt, length=length, temperature=0)).removeprefix(prompt)


def log_p(run, ids):
    """The log-probabilities (T, V) after each id."""
    reader = Reader(run.model)
    logits, _ = reader.read_all(np.array([ids]), reader.zero_state(1))
    return log_softmax(logits[0].astype(np.float64))


def test_a_chat(server, run):
    status, answer = server.ask(CHAT)
    assert (status, answer["object"], answer["model"]) == (200, "chat.completion", "run")
    [choice] = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": expected(run, TALK)}
    assert choice["finish_reason"] == "length"
    prompt = len(run.answering.encode(TALK))
    usage = {"prompt_tokens": prompt, "completion_tokens": 8, "total_tokens": prompt + 8}
    assert answer["usage"] == usage
    asked = {**CHAT, "stream_options": {"include_usage": True}}
    first, *events, last, final = server.events(asked)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    pieces = [event["choices"][0]["delta"]["content"] for event in events]
    assert len(pieces) > 1
    assert "".join(pieces) == expected(run, TALK)
    assert (last["choices"][0]["finish_reason"], last["choices"][0]["delta"]) == ("length", {})
    assert (final["choices"], final["usage"]) == ([], usage)
    assert {event["id"] for event in (first, *events, last, final)} == {first["id"]}


@pytest.mark.parametrize("guessed", [False, True])
def test_a_stop_text(server, run, monkeypatch, guessed):
    """Guesses change no answer, not even where a stop text ends among several right guesses."""
    prompt, whole = run.answering.encode(TALK).tolist(), expected(run, TALK, 30)
    text = Continuation(prompt, 30, Sampling(temperature=0), banned=run.answering.banned)
    list(write(run.model, text))
    if guessed:

        def guess(self, ids, most):
            return text.ids[len(ids) :][: min(5, most)]

        monkeypatch.setattr(Speculation, "guess", guess)
        monkeypatch.setattr(server.server.engine._batch, "_guess", True)
    asked = {**CHAT, "max_tokens": 30}
    assert server.text(asked) == whole
    found, events = server.streamed(asked)
    assert (found, events < 15) == (whole, guessed)
    [choice] = choices(server, {**asked, "stop": [whole[3:6]]})
    assert choice["message"]["content"] == whole[: whole.index(whole[3:6])]
    assert choice["finish_reason"] == "stop"


def test_seeds_and_defaults(server, monkeypatch):
    monkeypatch.setattr(server.server, "sampling", Sampling(temperature=1.0, seed=7))
    asked = {"model": "run", "messages": TALK, "max_tokens": 12}
    texts = [server.text({**asked, "seed": seed}) for seed in (7, 8)]
    assert server.text(asked) == texts[0] != texts[1]


def test_contents_in_parts_and_developers(server, run):
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": "cat sat on"}]
    asked = [{"role": "developer", "content": "the mat"}, {"role": "user", "content": parts}]
    talk = [system("the mat"), user("the cat sat on")]
    _, answer = server.ask({**CHAT, "messages": asked})
    assert answer["choices"][0]["message"]["content"] == expected(run, talk)
    assert answer["usage"]["prompt_tokens"] == len(run.answering.encode(talk))


def test_models_and_the_page(server):
    status, models = server.ask(None, "/v1/models", "GET")
    assert status == 200
    assert [model["id"] for model in models["data"]] == ["run"]
    assert server.ask(None, "/v1/models/run", "GET") == (200, models["data"][0])
    answer, text = server.raw("GET", "/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert b"<!doctype html>" in text


# --- choices -------------------------------------------------------------------------------------


def test_each_choice_is_the_one_with_its_seed(server):
    asked = {**CHAT, "temperature": 1.5, "seed": 3, "n": 4}
    found = [choice["message"]["content"] for choice in choices(server, asked)]
    alone = [server.ask({**asked, "n": 1, "seed": 3 + k})[1] for k in range(4)]
    assert found == [one["choices"][0]["message"]["content"] for one in alone]
    assert len(set(found)) > 1
    usage = server.ask(asked)[1]["usage"]
    tokens = [one["usage"]["completion_tokens"] for one in alone]
    assert usage["completion_tokens"] == sum(tokens)
    assert {usage["prompt_tokens"]} == {one["usage"]["prompt_tokens"] for one in alone}
    parts = streamed(server, asked)
    for number, text in enumerate(found):
        assert parts[number][0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(part["delta"].get("content", "") for part in parts[number]) == text
        reasons = [part["finish_reason"] for part in parts[number]]
        assert reasons == [None] * (len(reasons) - 1) + ["length"]


def test_a_list_of_prompts_is_answered_in_order(server, run):
    """There are more of them than places."""
    texts = ["the cat", "on the mat", "", "the dog sat on the log"]
    asked = {**TEXT, "prompt": texts * 4, "n": 2}
    found = [choice["text"] for choice in choices(server, asked, COMPLETIONS)]
    alone = [choices(server, {**TEXT, "prompt": text}, COMPLETIONS)[0]["text"] for text in texts]
    assert found == [text for text in alone for _ in range(2)] * 4
    assert found[0] == written(run, "the cat")
    ids = [TOKENIZER.encode(text).tolist() for text in texts if text]
    found = choices(server, {**TEXT, "prompt": ids}, COMPLETIONS)
    assert [choice["text"] for choice in found] == [alone[0], alone[1], alone[3]]
    [found] = choices(server, {**TEXT, "prompt": [float(id) for id in ids[0]]}, COMPLETIONS)
    assert found["text"] == alone[0]


def test_requests_are_served_in_turn(run, monkeypatch):
    """Of a long list of prompts, the last one comes after a later request's only one."""
    some, order = Engine(run.answering, parallel=1, waiting=5), queue.Queue()
    monkeypatch.setattr(Job, "grow", lambda job: order.put(job.choice) is None)

    def jobs(*numbers):
        return [Job(run.answering.continuation([1, 2], 0), print, number) for number in numbers]

    with some._changed:
        some.submit(jobs(1, 2, 3))
        some.submit(jobs(10))
    found = [order.get(timeout=30) for _ in range(4)]
    some.close()
    assert found == [1, 10, 2, 3]


# --- log-probabilities ---------------------------------------------------------------------------


def test_log_probabilities_of_an_answer(server, run):
    """They are the model's own, whatever temperature, bias and penalties the text has."""
    asked = {
        **CHAT,
        "temperature": 1.5,
        "seed": 1,
        "logprobs": True,
        "top_logprobs": 3,
        "frequency_penalty": 1.0,
        "logit_bias": {"40": 3},
    }
    [choice] = choices(server, asked)
    content = choice["logprobs"]["content"]
    assert len(content) == 8
    data = b"".join(bytes(entry["bytes"]) for entry in content)
    assert data.decode("utf-8", "replace") == choice["message"]["content"]
    ids = run.answering.encode(TALK).tolist()
    for entry in content:
        expected_ones = log_p(run, ids)[-1]
        token = TOKENIZER.id_of(bytes(entry["bytes"]))
        assert entry["token"] == TOKENIZER.token(token).decode("utf-8", "replace")
        assert entry["logprob"] == pytest.approx(expected_ones[token], abs=1e-3)
        top = [one["logprob"] for one in entry["top_logprobs"]]
        np.testing.assert_allclose(top, np.sort(expected_ones)[:-4:-1], atol=1e-3)
        ids.append(token)
    parts = streamed(server, asked)[0]
    assert [e for part in parts if part["logprobs"] for e in part["logprobs"]["content"]] == content


def test_the_token_that_ends_an_answer_has_a_log_probability(server, run):
    """So there is one for each token of the usage."""
    ends = {str(id): 100 for id in run.answering.ends}
    _, answer = server.ask({**CHAT, "logit_bias": ends, "logprobs": True})
    [choice] = answer["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")
    [entry] = choice["logprobs"]["content"]
    assert TOKENIZER.id_of(bytes(entry["bytes"])) in run.answering.ends
    assert entry["top_logprobs"] == []
    assert answer["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize("length", [0, 4])
def test_echo_with_log_probabilities_scores_prompts(server, run, length):
    """Whole and in events, of texts and of ids."""
    texts = ["the cat sat on the mat", "é😀 the", "x"]
    rows = [TOKENIZER.encode(text).tolist() for text in texts]
    asked = {**TEXT, "prompt": rows, "echo": True, "logprobs": 2, "max_tokens": length}
    parts = streamed(server, {**asked, "prompt": texts}, COMPLETIONS)
    for k, choice in enumerate(choices(server, asked, COMPLETIONS)):
        log, row = choice["logprobs"], rows[k]
        assert choice["text"].startswith(texts[k])
        assert length or choice["text"] == texts[k]
        assert "".join(part["text"] for part in parts[k]) == choice["text"]
        logs = [part["logprobs"]["tokens"] for part in parts[k] if part["logprobs"]]
        assert [token for tokens in logs for token in tokens] == log["tokens"]
        assert len(log["tokens"]) == len(log["token_logprobs"]) == len(row) + length
        assert log["token_logprobs"][0] is log["top_logprobs"][0] is None
        scores = log_p(run, row)[np.arange(len(row) - 1), row[1:]]
        np.testing.assert_allclose(log["token_logprobs"][1 : len(row)], scores, atol=1e-3)
        for at, token in enumerate(log["tokens"][1:], start=1):
            best = log["top_logprobs"][at]
            assert best[token] == log["token_logprobs"][at]
            assert 2 <= len(best) <= 3
            assert at < len(row) or best[token] == max(best.values())  # greedy


def test_log_probabilities_of_unusual_tokens(server):
    """Parts of characters, an empty prompt's token, impossible ones, rows past the vocabulary."""
    asked = {**TEXT, "prompt": "é😀", "echo": True, "logprobs": 0, "max_tokens": 0}
    [choice] = choices(server, asked, COMPLETIONS)
    parts = "é😀".encode()
    assert choice["logprobs"]["tokens"] == [f"bytes:\\x{byte:02x}" for byte in parts]
    assert choice["logprobs"]["top_logprobs"][1].keys() == {f"bytes:\\x{parts[1]:02x}"}
    asked = {**TEXT, "prompt": "", "echo": True, "logprobs": 1, "max_tokens": 2}
    [choice] = choices(server, asked, COMPLETIONS)
    assert len(choice["logprobs"]["tokens"]) == 3
    without = choices(server, {**asked, "echo": False}, COMPLETIONS)[0]
    assert without["text"] == choice["text"]
    assert without["logprobs"]["tokens"] == choice["logprobs"]["tokens"][1:]
    scores = [forms.Score(5, -np.inf, [(len(TOKENIZER), -0.5), (5, -np.inf)])]
    [listed] = forms.of_chat(TOKENIZER, scores)["content"]
    assert [one["logprob"] for one in (listed, *listed["top_logprobs"])] == [-9999.0] * 2
    assert list(forms.of_completion(TOKENIZER, scores)["top_logprobs"][0].values()) == [-9999.0]


def test_echo_alone(server, run):
    asked = {**TEXT, "prompt": ["the cat", "the dog"], "echo": True}
    texts = [f"{text}{written(run, text)}" for text in asked["prompt"]]
    found = choices(server, asked, COMPLETIONS)
    assert [(choice["text"], choice["logprobs"]) for choice in found] == [(t, None) for t in texts]
    found = choices(server, {**asked, "max_tokens": 0}, COMPLETIONS)
    assert [choice["text"] for choice in found] == asked["prompt"]
    asked = {**TEXT, "prompt": [1, 2], "max_tokens": 0}
    for [one] in (choices(server, asked, COMPLETIONS), streamed(server, asked, COMPLETIONS)[0]):
        assert (one["text"], one["finish_reason"]) == ("", "length")


def test_a_prompt_of_the_whole_context_can_be_scored_only(server):
    ids = [k % 200 for k in range(1024)]
    asked = {**TEXT, "prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 0}
    assert len(choices(server, asked, COMPLETIONS)[0]["logprobs"]["tokens"]) == 1024
    for changes, found in (({"max_tokens": 1}, "1,024"), ({"prompt": [*ids, 1]}, "1,025")):
        status, answer = server.ask({**asked, **changes}, COMPLETIONS)
        assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
        message = f"prompt: expected less than {found} tokens, found {found}"
        assert answer["error"]["message"] == message


# --- penalties and biases ------------------------------------------------------------------------


def test_penalties_of_what_has_been_drawn(server, run):
    """As a text with these adjustments draws it; each choice has its own."""
    ids = run.answering.encode(TALK).tolist()
    for frequency, presence in ((2.0, 0.0), (0.0, 2.0), (-2.0, 1.0)):
        adjustments = [
            partial(biased, biases={66: 30.0, 67: 30.0}),
            partial(less_often, frequency=frequency, presence=presence),
        ]
        text = run.answering.continuation(ids, 20, Sampling(temperature=0), adjustments=adjustments)
        list(write(run.reader, text))
        asked = {**CHAT, "max_tokens": 20, "logit_bias": {"66": 30, "67": 30.0}, "n": 2}
        asked |= {"frequency_penalty": frequency, "presence_penalty": presence}
        found = [choice["message"]["content"] for choice in choices(server, asked)]
        assert found == [TOKENIZER.decode(text.ids[len(ids) :])] * 2


# --- the client of OpenAI ------------------------------------------------------------------------


@pytest.mark.deep  # its import alone takes a second
def test_the_client_of_openai(server, run):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0)
    with client:
        chat = client.chat.completions.create
        answer = chat(**CHAT, n=2, logprobs=True, top_logprobs=2)
        assert [choice.message.content for choice in answer.choices] == [expected(run, TALK)] * 2
        assert len(answer.choices[1].logprobs.content[0].top_logprobs) == 2
        second = [
            choice
            for chunk in chat(**CHAT, n=2, logprobs=True, stream=True)
            for choice in chunk.choices
            if choice.index == 1
        ]
        assert "".join(one.delta.content or "" for one in second) == expected(run, TALK)
        assert sum(len(one.logprobs.content) for one in second if one.logprobs) == 8
        assert [model.id for model in client.models.list()] == ["run"]
        with pytest.raises(openai.BadRequestError, match="top_k: expected a whole number from 1"):
            chat(**CHAT, extra_body={"top_k": -2})
        chat(**CHAT, extra_body={"min_p": 0.1, "top_k": 3})
        texts = client.completions.create(**TEXT, prompt=["a", "b"], echo=True, logprobs=1)
        assert [len(choice.logprobs.token_logprobs) for choice in texts.choices] == [6, 6]
        for options in ({}, {"encoding_format": "float"}):
            vectors = client.embeddings.create(model="run", input=["a", "the cat"], **options)
            whole = server.ask({"model": "run", "input": ["a", "the cat"]}, "/v1/embeddings")[1]
            for one, other in zip(vectors.data, whole["data"], strict=True):
                np.testing.assert_allclose(one.embedding, other["embedding"], atol=1e-6)
