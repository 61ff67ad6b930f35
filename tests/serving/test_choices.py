"""Several choices and prompts in one request, log-probabilities, echo, penalties and biases."""

import json
import time
from functools import partial

import msgspec
import numpy as np
import pytest
from chatting import TOKENIZER, user
from running_server import expected

from minillm.decoding import Reader, Sampling
from minillm.decoding.batch import Batch, PrefixCache
from minillm.decoding.sampling import biased, less_often
from minillm.ops.softmax import log_softmax
from minillm.serving import app, forms, requests
from minillm.serving.embeddings import EmbeddingFields
from minillm.serving.engine import Engine

CONTEXT = 128
TALK = [user("the cat")]
CHAT = {"model": "run", "messages": TALK, "temperature": 0, "max_tokens": 8}
TEXT = {"model": "run", "temperature": 0, "max_tokens": 5}
COMPLETIONS = "/v1/completions"


def choices(server, values, path="/v1/chat/completions"):
    status, answer = server.ask(values, path)
    assert status == 200, answer
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


# --- choices -------------------------------------------------------------------------------------


def test_each_choice_is_the_one_with_its_seed(server):
    asked = {**CHAT, "temperature": 1.5, "seed": 3, "n": 4}
    found = [choice["message"]["content"] for choice in choices(server, asked)]
    alone = [server.text({**asked, "n": 1, "seed": 3 + k}) for k in range(4)]
    assert found == alone
    assert len(set(found)) > 1
    usage = server.ask(asked)[1]["usage"]
    each = [server.ask({**asked, "n": 1, "seed": 3 + k})[1]["usage"] for k in range(4)]
    assert usage["completion_tokens"] == sum(one["completion_tokens"] for one in each)
    assert {usage["prompt_tokens"]} == {one["prompt_tokens"] for one in each}


def test_a_stream_of_several_choices(server):
    asked = {**CHAT, "temperature": 1.5, "seed": 3, "n": 3}
    parts = streamed(server, asked)
    for number, choice in enumerate(choices(server, asked)):
        assert parts[number][0]["delta"] == {"role": "assistant", "content": ""}
        text = "".join(part["delta"].get("content", "") for part in parts[number])
        assert text == choice["message"]["content"]
        reasons = [part["finish_reason"] for part in parts[number]]
        assert reasons == [None] * (len(reasons) - 1) + ["length"]


def test_a_list_of_prompts_is_answered_in_order(server, run):
    texts = ["the cat", "on the mat", "", "the dog sat on the log"]
    asked = {**TEXT, "prompt": texts, "n": 2}
    found = [choice["text"] for choice in choices(server, asked, COMPLETIONS)]
    alone = [choices(server, {**TEXT, "prompt": text}, COMPLETIONS)[0]["text"] for text in texts]
    assert found == [text for text in alone for _ in range(2)]
    assert found[0] == written(run, "the cat")
    ids = [TOKENIZER.encode(text).tolist() for text in texts if text]
    found = choices(server, {**TEXT, "prompt": ids}, COMPLETIONS)
    assert [choice["text"] for choice in found] == [alone[0], alone[1], alone[3]]
    [found] = choices(server, {**TEXT, "prompt": [float(id) for id in ids[0]]}, COMPLETIONS)
    assert found["text"] == alone[0]


def test_more_prompts_than_places(server, run):
    """A request that comes later need not wait for all of them."""
    texts = [f"the cat sat on the mat {k}" for k in range(30)]
    found = choices(server, {**TEXT, "prompt": texts}, COMPLETIONS)
    assert [choice["text"] for choice in found] == [written(run, text) for text in texts]


def test_requests_are_served_in_turn(run):
    """Of a long list of prompts, the last one comes after a later request's only one."""
    some, order = Engine(run.answering, parallel=1, waiting=5), []

    class Noting:
        def __init__(self, name):
            self.continuation = run.answering.continuation([1, 2], 0)
            self.name = name

        def grow(self):
            order.append(self.name)
            return True

    with some._changed:
        some.submit([Noting(f"first {k}") for k in range(3)])
        some.submit([Noting("second")])
    for _ in range(500):
        if len(order) == 4:
            break
        time.sleep(0.01)
    some.close()
    assert order[-4:] == ["first 0", "second", "first 1", "first 2"]


def test_a_client_that_leaves_cancels_all_its_choices(server, run, monkeypatch):
    monkeypatch.setattr(app, "LOOK", 0.05)
    with server.post({**CHAT, "n": 20, "max_tokens": 100}):
        while not server.server.engine._active:
            time.sleep(0.001)
    server.idle()
    assert server.text(CHAT) == expected(run, TALK)


# --- log-probabilities ---------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_log_probabilities_of_an_answer(server, run, temperature):
    """They are the model's own, whatever temperature, bias and penalties the text has."""
    asked = {
        **CHAT,
        "temperature": temperature,
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
    status, answer = server.ask({**CHAT, "logit_bias": ends, "logprobs": True})
    assert status == 200
    [choice] = answer["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")
    [entry] = choice["logprobs"]["content"]
    assert TOKENIZER.id_of(bytes(entry["bytes"])) in run.answering.ends
    assert entry["top_logprobs"] == []
    assert answer["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("length", [0, 1, 4])
def test_echo_with_log_probabilities_scores_prompts(server, run, stream, length):
    texts = ["the cat sat on the mat", "é😀 the", "x"]
    rows = [TOKENIZER.encode(text).tolist() for text in texts]
    asked = {**TEXT, "echo": True, "logprobs": 2, "max_tokens": length}
    for prompts in (texts, rows):
        values = {**asked, "prompt": prompts}
        if stream:
            parts = streamed(server, values, COMPLETIONS)
            logs = [[p["logprobs"] for p in parts[k] if p["logprobs"]] for k in range(3)]
            found = [
                {name: [x for log in logs[k] for x in log[name]] for name in logs[k][0]}
                for k in range(3)
            ]
            whole = ["".join(part["text"] for part in parts[k]) for k in range(3)]
        else:
            answers = choices(server, values, COMPLETIONS)
            found = [choice["logprobs"] for choice in answers]
            whole = [choice["text"] for choice in answers]
        for text, row, of_text, log in zip(texts, rows, whole, found, strict=True):
            assert of_text.startswith(text)
            if length == 0:
                assert of_text == text
            assert len(log["tokens"]) == len(log["token_logprobs"]) == len(row) + length
            assert log["token_logprobs"][0] is log["top_logprobs"][0] is None
            own = log_p(run, row)
            scores = [own[at, id] for at, id in enumerate(row[1:])]
            np.testing.assert_allclose(log["token_logprobs"][1 : len(row)], scores, atol=1e-3)
            for at, token in enumerate(log["tokens"]):
                if at:
                    best = log["top_logprobs"][at]
                    assert best[token] == log["token_logprobs"][at]
                    assert 2 <= len(best) <= 3
                    if at >= len(row):  # greedy
                        assert best[token] == max(best.values())


def test_parts_of_characters_are_shown_as_bytes(server):
    asked = {**TEXT, "prompt": "é😀", "echo": True, "logprobs": 0, "max_tokens": 0}
    [choice] = choices(server, asked, COMPLETIONS)
    parts = "é😀".encode()
    assert choice["logprobs"]["tokens"] == [f"bytes:\\x{byte:02x}" for byte in parts]
    assert choice["logprobs"]["top_logprobs"][1].keys() == {f"bytes:\\x{parts[1]:02x}"}


def test_rows_past_the_vocabulary_are_not_listed():
    """Of a model whose table of tokens is filled up to a multiple of 64."""
    scores = [forms.Score(5, -1.0, [(len(TOKENIZER), -0.5), (5, -1.0)])]
    listed = forms.of_chat(TOKENIZER, scores)["content"][0]["top_logprobs"]
    assert len(listed) == 1
    listed = forms.of_completion(TOKENIZER, scores)["top_logprobs"][0]
    assert len(listed) == 1


def test_an_empty_prompt_has_a_silent_token(server):
    """An empty prompt has a token that its text does not show."""
    asked = {**TEXT, "prompt": "", "echo": True, "logprobs": 1, "max_tokens": 2}
    [choice] = choices(server, asked, COMPLETIONS)
    assert len(choice["logprobs"]["tokens"]) == 3
    without = choices(server, {**asked, "echo": False}, COMPLETIONS)[0]
    assert without["text"] == choice["text"]
    assert without["logprobs"]["tokens"] == choice["logprobs"]["tokens"][1:]


def test_echo_alone(server, run):
    asked = {**TEXT, "prompt": ["the cat", "the dog"], "echo": True}
    found = choices(server, asked, COMPLETIONS)
    texts = [f"{text}{written(run, text)}" for text in asked["prompt"]]
    assert [choice["text"] for choice in found] == texts
    assert [choice["logprobs"] for choice in found] == [None, None]
    found = choices(server, {**asked, "max_tokens": 0}, COMPLETIONS)
    assert [choice["text"] for choice in found] == asked["prompt"]
    [choice] = choices(server, {**TEXT, "prompt": [1, 2], "max_tokens": 0}, COMPLETIONS)
    assert (choice["text"], choice["finish_reason"]) == ("", "length")
    parts = streamed(server, {**TEXT, "prompt": [1, 2], "max_tokens": 0}, COMPLETIONS)
    assert [part["finish_reason"] for part in parts[0]] == ["length"]


def test_a_prompt_of_the_whole_context_can_be_scored_only(server):
    ids = [k % 200 for k in range(128)]
    asked = {**TEXT, "prompt": ids, "echo": True, "logprobs": 1, "max_tokens": 0}
    assert len(choices(server, asked, COMPLETIONS)[0]["logprobs"]["tokens"]) == 128
    for changes, found in (({"max_tokens": 1}, 128), ({"prompt": [*ids, 1]}, 129)):
        status, answer = server.ask({**asked, **changes}, COMPLETIONS)
        assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
        assert (
            answer["error"]["message"]
            == f"prompt: expected less than {found} tokens, found {found}"
        )


def test_an_impossible_token_has_a_finite_log_probability():
    scores = [forms.Score(5, -np.inf, [(6, 0.0)])]
    for listed in (forms.of_chat, forms.of_completion):
        assert "-9999.0" in str(listed(TOKENIZER, scores))


# --- penalties and biases ------------------------------------------------------------------------


def test_a_bias_and_penalties_change_the_text(server):
    plain = server.text({**CHAT, "max_tokens": 20})
    first = TOKENIZER.encode(plain).tolist()[0]
    banned = server.text({**CHAT, "max_tokens": 20, "logit_bias": {str(first): -100}})
    assert first not in TOKENIZER.encode(banned).tolist()
    certain = server.text({**CHAT, "logit_bias": {str(first): 100}})
    assert certain == TOKENIZER.decode([first] * 8)


def test_penalties_of_what_has_been_drawn(server, run):
    """As a text with these adjustments draws it."""
    ids = run.answering.encode(TALK).tolist()
    for frequency, presence in ((2.0, 0.0), (0.0, 2.0), (-2.0, 1.0)):
        adjustments = [
            partial(biased, biases={66: 30.0, 67: 30.0}),
            partial(less_often, frequency=frequency, presence=presence),
        ]
        text = run.answering.continuation(ids, 20, Sampling(temperature=0), adjustments=adjustments)
        batch = Batch(run.reader, PrefixCache(run.reader))
        batch.add(text)
        while text.ended is None:
            batch.step()
        asked = {**CHAT, "max_tokens": 20, "logit_bias": {"66": 30, "67": 30.0}}
        asked |= {"frequency_penalty": frequency, "presence_penalty": presence}
        assert server.text(asked) == TOKENIZER.decode(text.ids[len(ids) :])


def test_choices_have_penalties_of_their_own(server):
    asked = {**CHAT, "logit_bias": {"66": 90, "67": 89}, "presence_penalty": 2, "n": 3}
    found = {choice["message"]["content"] for choice in choices(server, asked)}
    assert found == {server.text({**asked, "n": 1})}


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "param", "message"),
    [
        ({"prompt": None}, "prompt", "prompt: expected a value, found None"),
        ({"prompt": []}, "prompt", "prompt: expected a text or a list of token ids, or a list of "),
        ({"prompt": ["a", 3]}, "prompt", "prompt[1]: expected str, found 3"),
        ({"prompt": [[]]}, "prompt", "prompt[0]: expected array of length >= 1, found []"),
        ({"prompt": [1, 295]}, "prompt", "prompt[1]: expected int <= 294, found 295"),
        ({"prompt": [[1], [-1]]}, "prompt", "prompt[1][0]: expected int >= 0, found -1"),
        ({"prompt": [True]}, "prompt", "prompt[0]: expected int, found True"),
        ({"prompt": [10**18]}, "prompt", "prompt[0]: expected int <= 294, found 1000"),
        ({"prompt": ["a"] * 2049}, "prompt", "prompt: expected array of length <= 2048, found "),
        ({"prompt": ["a"] * 17, "n": 128}, "prompt", "prompt: expected array of length <= 16, fo"),
        (
            {"prompt": ["a", "a b " * 99]},
            "prompt",
            "prompt[1]: expected less than 128 tokens, found",
        ),
        ({"logprobs": 6}, "logprobs", "logprobs: expected int <= 5, found 6"),
        ({"logprobs": True}, "logprobs", "logprobs: expected int, found True"),
        ({"best_of": 3}, "best_of", "best_of: expected int <= 1, found 3"),
        ({"suffix": "end"}, "suffix", "suffix: expected str of length <= 0, found 'end'"),
        ({"max_tokens": -1}, "max_tokens", "max_tokens: expected int >= 0, found -1"),
    ],
)
def test_a_wrong_completion(server, changes, param, message):
    status, answer = server.ask({**TEXT, "prompt": "a", **changes}, COMPLETIONS)
    assert status == 400
    assert answer["error"]["message"].startswith(message)
    assert "\n" not in answer["error"]["message"]
    assert answer["error"]["param"] == param


WEIRD = [
    *(None, True, False, 0, 1, -1, 2.5, 1e300, float("nan"), float("inf"), -float("inf"), 10**25),
    *("", "a", "\x00", "\ud800", [], [[]], [None], [1, "a"], ["a"] * 3, {}, {"a": 1}, {"1": None}),
    *([[[1]]], {"1": [1]}, [{}], [float("nan")], "a" * 2000),
]
KINDS = (requests.CompletionFields, requests.ChatFields, EmbeddingFields)
FIELDS = [entry.encode_name for kind in KINDS for entry in msgspec.structs.fields(kind)]


@pytest.mark.deep
@pytest.mark.parametrize("name", sorted({*FIELDS, *requests.SAMPLING, "model"}))
def test_any_value_of_a_field_is_answered_or_refused_in_one_line(server, name):
    for path, asked in (
        ("/v1/chat/completions", {**CHAT, "max_tokens": 2}),
        (COMPLETIONS, {**TEXT, "prompt": ["a", "b"], "max_tokens": 2}),
        ("/v1/embeddings", {"model": "run", "input": "a"}),
    ):
        for value in WEIRD:
            body = json.dumps({**asked, name: value})
            answer, text = server.raw("POST", path, body, {"Content-Type": "application/json"})
            if answer.status == 200:
                assert "error" not in text.decode()
                continue
            assert answer.status in (400, 404), (body, text)
            message = json.loads(text)["error"]["message"]
            assert "\n" not in message
            assert len(message) < 200


def test_fields_that_change_nothing_are_taken(server):
    asked = {**TEXT, "prompt": "a", "n": 2, "best_of": 1, "logprobs": False, "suffix": ""}
    assert len(choices(server, asked, COMPLETIONS)) == 2


def test_the_client_of_openai(server, run):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0)
    with client:
        answer = client.chat.completions.create(**CHAT, n=2, logprobs=True, top_logprobs=2)
        assert [choice.message.content for choice in answer.choices] == [expected(run, TALK)] * 2
        assert len(answer.choices[1].logprobs.content[0].top_logprobs) == 2
        stream = client.chat.completions.create(**CHAT, n=2, logprobs=True, stream=True)
        tokens = [
            entry.token
            for chunk in stream
            for choice in chunk.choices
            if choice.index == 1 and choice.logprobs
            for entry in choice.logprobs.content
        ]
        assert len(tokens) == 8
        texts = client.completions.create(**TEXT, prompt=["a", "b"], echo=True, logprobs=1)
        assert [len(choice.logprobs.token_logprobs) for choice in texts.choices] == [6, 6]
