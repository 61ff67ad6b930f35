"""A tiny run of each kind: its data and settings, the figures of `eval`, and what it can do."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import chatting
import numpy as np
import pytest

import minillm
from minillm.errors import InputError
from minillm.formats.word2vec import read_vectors

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60
WORDS = ("one", "two", "three", "four", "five")
PAIRS = [(f"{a} {b}", f"{b} {a}") for a in WORDS for b in ("six", "ten", "two")]
SPELLED_BACKWARDS = [("ab" * (1 + k % 4), "ba" * (1 + k % 4)) for k in range(20)]
LABELLED = "".join(
    f"{label}\t{text} {k}\n"
    for k in range(20)
    for label, text in (("good", "what a fine day"), ("bad", "rain and wind again"))
)


def lines(*objects):
    return "".join(json.dumps(value) + "\n" for value in objects)


def squad(names, unanswered=False):
    """SQuAD's format: in each paragraph a name finds something, and is asked for."""
    paragraphs = []
    for number, name in enumerate(names):
        answers = [{"text": f"gold{number}", "answer_start": len(name) + 9}]
        asked = [{"id": f"{number}", "question": f"What did {name} find?", "answers": answers}]
        if unanswered:
            other = {"id": f"{number}x", "question": "What did zoe find?", "answers": []}
            asked.append({**other, "is_impossible": True})
        paragraphs.append({"context": f"{name}\r\n\tfound gold{number}!", "qas": asked})
    return json.dumps({"data": [{"paragraphs": paragraphs}]})


ASKED = [
    (f"{a} {b}", f"the {a}")
    for a in ("cat", "dog", "mat", "log", "sat", "on", "and", "user")
    for b in ("cat", "dog", "mat", "and")
]
TALKS = lines(*({"prompt": asked, "completion": answer} for asked, answer in ASKED))
PREFERENCES = lines(*({"prompt": p, "chosen": a, "rejected": "sat"} for p, a in ASKED))

# --- what runs can do -----------------------------------------------------------------------------


def writes(run):
    """Of one seed one text, that begins with its prompt, in pieces or at once."""
    texts = [run.generate("the cat", length=60, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("the cat")
    assert "".join(run.write("the cat", length=60, seed=1)) == texts[0]
    if run.tokenizer.unit == "character":
        assert len(texts[0]) == 67
        assert run.generate(TEXT[:40], length=1).startswith(TEXT[:40])  # beyond its context


def translates(run):
    """Texts alone as among others; the hypotheses are in the order of their scores."""
    texts = ["one two", "ten five", "one " * 500]
    found = run.translate(texts, beam=3)
    assert [run.translate(text, beam=3) for text in texts] == found
    for best in run.hypotheses(texts, beam=3):
        scores = [one.hypothesis.score for one in best]
        assert scores == sorted(scores, reverse=True)
        assert len(best) == 3
    options = {"beam": 4, "length_exponent": 1.5, "no_repeat": 2, "no_repeat_window": 4, "least": 1}
    summaries = [best[0].text for best in run.hypotheses(texts, **options)]
    assert run.summarise(texts, report=lambda line: None) == summaries


def copies(run):
    """One vocabulary serves both sides; no output is empty, or repeats what it has just said."""
    assert run.source.tokens == run.target.tokens
    assert run.target.unit == "open word"
    for results in run.hypotheses([source for source, _ in PAIRS] + ["well " * 500 + "one"]):
        for output in results:
            ids = output.hypothesis.ids
            bigrams = [(ids[t], ids[t + 1]) for t in range(len(ids) - 1)]
            assert len(ids) >= 1
            assert len(bigrams) == len(set(bigrams))
            assert all(id not in ids[max(0, t - 4) : t] for t, id in enumerate(ids))
    assert results[0].cut
    assert results[0].hypothesis.weights.shape[1] == run.settings.max_source == 400
    text = "so call Zanzibar and Quito soon"
    ids, words, label = (
        run.source.encode(text).tolist(),
        run.source.split(text),
        run.trace(text).label,
    )
    end = len(run.target)
    assert label(end) == "(end)"
    shown = [
        word if number > end else word.lower() for number, word in zip(ids, words, strict=True)
    ]
    assert [label(number) for number in ids] == shown
    assert sum(number > end for number in ids) >= 2


def labels(*items):
    """Items alone as among others, no item as well; probabilities that sum to one."""

    def check(run):
        found = run.classify(list(items))
        for item, answer in zip(items, found, strict=True):
            assert sum(answer.probabilities.values()) == pytest.approx(1)
            assert answer.label == max(answer.probabilities, key=answer.probabilities.get)
            assert run.classify([item])[0].probability == pytest.approx(
                answer.probability, rel=1e-5
            )
        assert run.classify([]) == []

    return check


def fills_and_embeds(run):
    measured = run.evaluate()  # 15 % of a passage: of ten tokens, next to the two special ones, two
    assert measured["masked_tokens"] == pytest.approx(2 * measured["tokens"] / 10, abs=2)
    (gap,) = run.fill("the cat [MASK] on the mat", top=50)
    assert run.fill(["the cat [MASK] on the mat"], top=50) == [[gap]]
    probabilities = [probability for _, probability in gap]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=0.2)
    assert not {token for token, _ in gap[:-5]} & set(run.tokenizer.specials)
    texts = ["the cat", "", "the dog sat on the log", "mouse " * 40]
    vectors = run.embed(texts)
    assert vectors.shape == (4, 8)
    for text, vector in zip(texts, vectors, strict=True):  # neighbours change nothing
        np.testing.assert_allclose(run.embed(text), vector, atol=1e-5)
    np.testing.assert_allclose(vectors[3], run.embed("mouse " * 10), atol=1e-5)
    tokenizer = run.tokenizer
    x, _ = run.model.hidden(
        np.array([[tokenizer.bos, *tokenizer.encode("the cat"), tokenizer.eos]])
    )
    for pooling, expected in (
        (None, x[0].mean(axis=0)),
        ("first", x[0, 0]),
        ("max", x[0].max(axis=0)),
    ):
        np.testing.assert_allclose(run.embed("the cat", pooling), expected, atol=1e-5)
    assert run.embed([]).shape == (0, 8)
    with pytest.raises(InputError, match="pooling: expected one of mean, first, max; found 'last'"):
        run.embed("x", "last")


def answers(run):
    page = "Ada found gold.\r\nBob found a cafe\u0301 \U0001f600."
    [[best], [other]] = run.answers(["What did Ada find?", "Who?"], page)
    alone = run.answer("What did Ada find?", page)
    # A product of few rows adds up in another order than one of many.
    assert alone == best._replace(probability=pytest.approx(best.probability))
    [many] = run.answers(["Who?"], page, 1000)
    assert many[0].text == other.text
    assert sum(answer.probability for answer in many) == pytest.approx(1)
    probabilities = [answer.probability for answer in many]
    assert probabilities == sorted(probabilities, reverse=True)
    assert [answer.text for answer in many].count("") == 1  # no answer
    assert {answer.text for answer in many} >= {"cafe\u0301", "\U0001f600", "Ada", "gold"}
    for answer in many:
        if answer.text:
            assert page[answer.start : answer.end] == answer.text
    assert run.answers([], page) == []


def vectors(run):
    found = run.vectors
    assert len(found.most_similar("cat", topn=3)) == 3
    assert found["cat"].shape == (8,)
    words, numbers = read_vectors(run.export(run.path / "vectors"))
    assert words == found.index_to_key
    np.testing.assert_array_equal(numbers, found.vectors)


def chats(run):
    messages = [chatting.user("the cat sat")]
    texts = ["".join(run.chat(messages, length=8, seed=1)) for _ in range(2)]
    assert texts[0] == texts[1]


def splits(run):
    ids = run.tokenizer.encode("the cat é")
    assert run.tokenizer.decode(ids) == "the cat é"
    assert repr(run).endswith("tokens: tokenizer>")


# --- the rows -------------------------------------------------------------------------------------

# The figures of `eval`.
LANGUAGE = "text unit tokens nats_per_token bits_per_token perplexity"
WORDED = f"{LANGUAGE} unknown_share perplexity_of_known"
SPELLED = f"{LANGUAGE} nats_per_byte bits_per_byte nats_per_character bits_per_character"
MASKED = "text unit tokens masked_tokens masked_accuracy nats_per_masked_token"
MASKED += " bits_per_masked_token perplexity"
LABELS = "data items nats_per_item accuracy macro_f1 labels confusion"
OUTPUTS = "data sources beam nats_per_token perplexity unknown_target_words exact_match"
OUTPUTS += " token_error_rate bleu chrf rouge1 rouge2 rougeL"
KNOWN = OUTPUTS.replace(" unknown_target_words", "")
NEW = "words density repeated_trigrams distinct_outputs new_words new_bigrams"
NEW += " new_names new_numbers rouge"
QUESTIONS = "data questions exact_match f1 f1_answered f1_unanswered"
VECTORS = "text known_words predictions nats_per_prediction"
TOKENS = "text vocabulary tokens bytes_per_token characters_per_token"

SMALL = {"steps": 6, "batch": 4}
TINY = {**SMALL, "hidden": 8, "embedding": 6}
LM = {**TINY, "window": 8}
SGD = {"optimiser": "sgd", "momentum": 0.5, "learning_rate": 0.1}
ADAM = {"optimiser": "adam", "accumulate": 2}
BLOCKS = {**SMALL, "width": 8, "heads": 2, "layers": 2}
GPT = {**BLOCKS, "context": 12}
OF_PAIRS = {**TINY, "minimum_count": 1}
COPIED_PAIRS = {**OF_PAIRS, "unit": "bpe", "vocabulary": 300}
TRANSFORMER = {**BLOCKS, "feed_forward": 8, "minimum_count": 1}
CONVOLUTION = {**SMALL, "width": 8, "layers": 2, "convolution": 3, "window": 8}
MAMBA = {**SMALL, "width": 8, "state": 3, "layers": 2, "window": 8}
DIGITS = {**SMALL, "hidden": 8}
QA = {**SMALL, "width": 8, "context": 32, "stride": 8}
CHAT = {**SMALL, "init": "talker", "max_length": 64, "lora_rank": 2, "batch": 2}


@dataclass(frozen=True)
class Row:
    """A tiny run.  Its data are a text, which is written to a file; None: the built-in digits."""

    kind: str
    data: str | None
    settings: dict[str, Any]  # "init" is the name of another row
    figures: str = ""  # their names
    check: Callable[[Any], None] = lambda run: None


def tsv(pairs):
    return "".join(f"{one}\t{other}\n" for one, other in pairs)


TWO = tsv(PAIRS)
EVENING = labels("a fine day", "rain", "")
ROWS = {
    "ngram": Row("ngram", TEXT, {"order": 3}, WORDED, writes),
    "characters": Row("ngram", TEXT, {"order": 3, "unit": "character"}, SPELLED, writes),
    "neural-ngram": Row("neural-ngram", TEXT, {**LM, "order": 4}, SPELLED, writes),
    "lm": Row("lm", TEXT, {**LM, "layers": 2, "dropout": 0.1}, SPELLED, writes),
    "gru": Row("lm", TEXT, {**LM, "cell": "gru", "embedding": 0, **SGD}, SPELLED),
    "rnn": Row("lm", TEXT, {**LM, "cell": "rnn", "embedding": 8, "tied": True, **ADAM}, SPELLED),
    "convolution": Row("convolution", TEXT, CONVOLUTION, SPELLED, writes),
    "mamba": Row("mamba", TEXT, MAMBA, SPELLED, writes),
    "gpt": Row("gpt", TEXT, GPT, SPELLED, writes),
    "byte pairs": Row("gpt", TEXT, {**GPT, "unit": "bpe", "vocabulary": 280}, SPELLED, writes),
    "llama": Row("llama", TEXT, {**GPT, "key_heads": 1}, SPELLED, writes),
    "decoder": Row("decoder", TEXT, {**GPT, "family": "mistral", "window": 4}, SPELLED, writes),
    "bert": Row("bert", TEXT, {**GPT, "dropout": 0.1}, MASKED, fills_and_embeds),
    "encoder": Row("encoder", TEXT, {**GPT, "family": "mpnet"}, MASKED, fills_and_embeds),
    "chat": Row("chat", TALKS, CHAT, "data conversations tokens nats_per_token perplexity", chats),
    "preferences": Row("preferences", PREFERENCES, CHAT, "", chats),
    "seq2seq": Row("seq2seq", TWO, {**OF_PAIRS, "dropout": 0.3}, OUTPUTS, translates),
    "dot": Row("seq2seq", TWO, {**OF_PAIRS, "attention": "dot", "layers": 2}, OUTPUTS),
    "no attention": Row("seq2seq", TWO, {**OF_PAIRS, "attention": "none"}, OUTPUTS),
    "spelled": Row("seq2seq", tsv(SPELLED_BACKWARDS), {**OF_PAIRS, "unit": "character"}, KNOWN),
    "transformer": Row("transformer", TWO, TRANSFORMER, OUTPUTS, translates),
    "joint": Row("transformer", TWO, {**TRANSFORMER, "joint": True, "post_norm": True}, OUTPUTS),
    "summariser": Row("summariser", TWO, {**OF_PAIRS, "coverage": 0.5}, f"{OUTPUTS} {NEW}", copies),
    "copied pairs": Row("summariser", TWO, COPIED_PAIRS, f"{KNOWN} {NEW}"),
    "classifier": Row("classifier", LABELLED, {**SMALL, "buckets": 32}, LABELS, EVENING),
    "recurrent-classifier": Row("recurrent-classifier", LABELLED, TINY, LABELS, EVENING),
    "finetuned": Row("finetuned", LABELLED, {"steps": 6, "init": "bert"}, LABELS, EVENING),
    "image-classifier": Row("image-classifier", None, DIGITS, LABELS, labels([0.5] * 64)),
    "qa": Row("qa", squad("abcdefghijkl", unanswered=True), QA, QUESTIONS, answers),
    "word2vec": Row("word2vec", TEXT, {"dimension": 8, "epochs": 1}, VECTORS, vectors),
    "hierarchical": Row("word2vec", TEXT, {"dimension": 8, "epochs": 1, "negative": 0}, VECTORS),
    "cbow": Row("word2vec", TEXT, {"dimension": 8, "epochs": 1, "algorithm": "cbow"}, VECTORS),
    "tokenizer": Row("tokenizer", TEXT, {"vocabulary": 300}, TOKENS, splits),
}

KINDS = {row.kind: name for name, row in reversed(ROWS.items())}  # the first row of each


# --- made once ------------------------------------------------------------------------------------


class Runs:
    """The folders of the rows' runs, which are not to be changed: ``runs("gpt")``."""

    def __init__(self, new_folder):
        self.new_folder, self.made = new_folder, {}

    def __call__(self, name):
        if name not in self.made:
            out = self.made[name] = self.new_folder("run") / "run"
            if name == "talker":  # a Llama of another program
                chatting.write_gguf(out)
            else:
                minillm.train(out=out, **self.given(name))
        return self.made[name]

    def given(self, name, data=None, **settings):
        """The arguments of :func:`minillm.train`, with other data or settings."""
        row, files = ROWS[name], "digits"
        content = row.data if data is None else data
        if content is None:
            pytest.importorskip("sklearn")
        else:
            name = "data.jsonl" if content.startswith('{"prompt"') else "data"
            files = self.new_folder("data") / name
            files.write_text(content)
        settings = {**row.settings, **settings}
        for option in {"init", "tokenizer"} & settings.keys():
            if settings[option] in (*ROWS, "talker"):
                settings[option] = self(settings[option])
        return {"kind": row.kind, "files": files, "quiet": True, **settings}
