"""Texts that are continued together are the same as alone, and one that is alone is written."""

from functools import partial

import numpy as np
import pytest
from chatting import SPECIALS, TOKENIZER, model
from fake_models import TinyLanguageModel
from hypothesis import example, given
from hypothesis import strategies as st

from minillm.decoding import Continuation, Reader, Sampling, batch, write
from minillm.decoding.batch import Batch, PrefixCache
from minillm.decoding.continuation import Pieces
from minillm.errors import InputError
from minillm.ops.softmax import log_softmax

READER = Reader(model())
SMALL = Reader(model(context=16))  # its window slides
PROMPTS = st.lists(st.integers(0, 9), min_size=1, max_size=12)
TEXTS = st.lists(st.tuples(PROMPTS, st.integers(1, 12), st.integers(0, 5)), min_size=1, max_size=6)


def text_of(prompt, length, **options):
    """A greedy text without the token 3."""
    return Continuation(list(prompt), length, Sampling(temperature=0), banned=[3], **options)


def write_all(some):
    """Write all texts of a batch to their ends."""
    while len(some):
        for text in some.step():
            if text.ended is not None:
                some.remove(text)


def alone(prompt, length, sampling, reader=READER):
    """The ids of a text whose prompt is read whole, and that is written by itself."""
    text = Continuation(list(prompt), length, sampling, banned=[3])
    list(write(reader, text))
    return text.ids


@given(PROMPTS, st.integers(1, 80), st.integers(0, 5), st.sampled_from([0.0, 1.0]))
def test_writing_is_the_loop_of_its_definition(prompt, length, seed, temperature):
    """Also where the context is full, and its window slides."""
    sampling = Sampling(temperature=temperature, seed=seed)
    for reader in (SMALL, TinyLanguageModel(10)):
        one, other = (
            Continuation(list(prompt), length, sampling, frozenset([5]), [3]) for _ in range(2)
        )
        logits, state = reader.read(np.array([prompt]), reader.zero_state(1))
        while one.draw(logits[0]) is not None and one.ended is None:
            logits, state = reader.read(np.array([one.ids[-1:]]), state)
        yielded = list(write(reader, other))
        assert (one.ids, one.ended) == (other.ids, other.ended)
        assert yielded == [id for id in one.ids[len(prompt) :] if id != 5]
        assert 3 not in yielded


@given(TEXTS, st.booleans(), st.integers(2, 5), st.integers(1, 3))
def test_texts_that_join_and_leave_at_any_time(texts, greedy, part, most):
    """Each joins after some steps; prompts are read in parts."""
    some, waiting = Batch(SMALL, PrefixCache(SMALL, most)), []
    for k, (prompt, length, at) in enumerate(texts):
        sampling = Sampling(temperature=0.0 if greedy else 1.0, seed=k)
        waiting.append((at, Continuation(list(prompt), length, sampling, banned=[3])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "PART", part)
        for step in range(400):
            for _, text in [entry for entry in waiting if entry[0] == step]:
                some.add(text)
            grown = some.step()
            assert all(grown.count(text) == 1 for text in grown)
            for text in grown:
                if text.ended:
                    some.remove(text)
    assert not some.writing
    assert not some.reading
    for (_, text), (prompt, length, _) in zip(waiting, texts, strict=True):
        assert text.ended == "length"
        assert text.ids == alone(prompt, length, text.sampling, SMALL)


def test_texts_may_be_removed_at_any_time(monkeypatch):
    """The part of a prompt that was read is kept."""
    monkeypatch.setattr(batch, "PART", 5)
    kept, prompt = PrefixCache(READER), list(range(9)) * 2
    some = Batch(READER, kept)
    scored = [Continuation([1] * 20, 5, scores_prompt=True) for _ in range(4)]
    texts = [Continuation([4, 2], 50, Sampling(temperature=0)), Continuation(prompt, 4)]
    for text in (*texts, *scored[:3]):
        some.add(text)
    for _ in range(5):
        some.step()
    some.add(scored[3])  # it needs the scores of what has been read
    assert len(some) == 6
    some.remove(texts[0])
    some.remove(texts[1])
    assert kept.take(np.array(prompt))[0] == 10
    for text in scored[:3]:
        some.remove(text)
    write_all(some)
    assert [score.token for score in scored[3].scores] == [1] * 20
    assert some.step() == []


def test_a_conversation_is_kept_until_it_is_continued():
    ids, kept = np.arange(20), PrefixCache(READER)
    kept.keep(READER.read(ids[None], READER.zero_state(1))[1])
    some, unread = Batch(READER, kept), text_of([9, 9, 9], 3)
    some.add(unread)
    some.remove(unread)
    begins_alike = np.array([*range(5), 9, 9, 9])
    assert [kept.take(one)[0] for one in (begins_alike, ids, ids)] == [5, 18, 0]


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=40), min_size=1, max_size=5),
    st.lists(st.integers(0, 4), min_size=5, max_size=5),
    st.integers(2, 40),
)
@example(
    [[8, 1, 0], [4, 9, 9, 7, 2, 6], [9, 1, 9, 1, 9], [1, 9, 5], [1, 9, 5]], [1, 2, 1, 0, 3], 18
)
def test_prompts_that_are_scored_together(prompts, lengths, part):
    """The scores are those of a pass over each alone, and its text goes on as it would alone."""
    some = Batch(READER, PrefixCache(READER))
    kept = [
        text_of(prompt, length, top=2, scores_prompt=True)
        for prompt, length in zip(prompts, lengths, strict=False)
    ]
    for text in kept:
        some.add(text)
    assert len(some) == len(prompts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "PART", part)
        write_all(some)
    for text, prompt, length in zip(kept, prompts, lengths, strict=False):
        assert text.ids == (alone(prompt, length, Sampling(temperature=0)) if length else prompt)
        log_p = log_softmax(READER.model.forward(np.array([text.ids]))[0][0])
        assert [score.token for score in text.scores] == text.ids
        assert (text.scores[0].log_p, text.scores[0].top) == (None, [])
        for at, score in enumerate(text.scores[1:]):
            assert score.log_p == pytest.approx(log_p[at, score.token], abs=1e-3)
            best = np.sort(log_p[at])[:-3:-1]
            np.testing.assert_allclose([one for _, one in score.top], best, atol=1e-3)
            assert dict(score.top).get(score.token, score.log_p) == score.log_p


def test_a_prompt_of_several_texts_is_read_once(monkeypatch):
    monkeypatch.setattr(batch, "PART", 5)
    read, original = [], type(READER).read

    def counting(self, ids, state):
        read.append(ids.shape)
        return original(self, ids, state)

    monkeypatch.setattr(type(READER), "read", counting)
    some, prompt = Batch(READER, PrefixCache(READER)), [1, 2, 3, 4, 5, 6, 7, 8]
    texts = [Continuation(list(prompt), 3, Sampling(seed=k), banned=[3]) for k in range(3)]
    for text in texts:
        some.add(text)
    other = Continuation([*prompt[:-1], 9], 3, Sampling(seed=0), banned=[3])
    some.add(other)
    assert len(some) == 4
    some.remove(texts.pop())
    while any(text.ended is None for text in texts):
        some.step()
    assert sorted(shape for shape in read if shape[1] > 1) == [(1, 3), (1, 3), (1, 5), (1, 5)]
    for k, text in enumerate(texts):
        assert text.ids == alone(prompt, 3, Sampling(seed=k))


def test_a_text_that_fails_ends_alone():
    """An adjustment raises an exception when the third token is drawn."""

    def failing(logits, written, error):
        if len(written) == 2:
            raise error
        return logits

    errors = [InputError("no token"), RuntimeError("a defect")]
    some, prompts = Batch(READER, PrefixCache(READER)), [[1, 2], [4, 5], [6], [7, 8, 9]]
    adjustments = [[partial(failing, error=error)] for error in errors] + [[], []]
    texts = [
        text_of(prompt, 8, adjustments=own)
        for prompt, own in zip(prompts, adjustments, strict=True)
    ]
    for text in texts:
        some.add(text)
    write_all(some)
    assert [text.ended for text in texts] == [*errors, "length", "length"]
    for text, prompt in zip(texts, prompts, strict=True):
        whole = alone(prompt, 8, Sampling(temperature=0))
        assert text.ids == (whole if text.ended == "length" else whole[: len(prompt) + 2])


# --- one text ----------------------------------------------------------------------------------


def test_nothing_continuation():
    with pytest.raises(ValueError, match=r"^Continuation: ids: expected one or more, found none$"):
        Continuation([], 3)


# --- pieces ------------------------------------------------------------------------------------

LONGEST = max(
    (TOKENIZER.token(id).decode() for id in range(256, len(TOKENIZER) - len(SPECIALS))), key=len
)
WORDS = st.lists(st.sampled_from(["the ", "cat", "é", "😀", "sat", "<|im_end|>"])).map("".join)


@given(WORDS, st.lists(st.sampled_from(["cat", "cats", "at", "é😀", "t", "zz"]), max_size=3))
@example("catsat", ["cats", "at"])  # the one that is complete first
@example(LONGEST, [LONGEST, LONGEST[1:-1]])  # both in one token
def test_pieces_are_the_text_before_a_stop_text(text, stop):
    pieces, written, seen = Pieces(TOKENIZER, stop), [], b""
    for id in TOKENIZER.encode(text).tolist():
        if not pieces.stopped:
            written.append(pieces.add(id))
            assert "�" not in written[-1]
            seen += TOKENIZER.token(id).replace(b"<|im_end|>", b"")
        if not pieces.stopped:  # what is held back begins a stop text, and nothing more is
            known = seen.decode(errors="ignore")
            ends = [n for one in stop for n in range(1, len(one)) if known.endswith(one[:n])]
            assert "".join(written) == known[: len(known) - max(ends, default=0)]
    written.append(pieces.end())
    plain = text.replace("<|im_end|>", "")
    for end in range(len(plain) + 1):  # character by character, until a stop text is complete
        known = plain[:end]
        starts = [end - len(one) for one in stop if known.endswith(one)]
        if starts:
            assert "".join(written) == plain[: min(starts)]
            break
    else:
        assert "".join(written) == plain
    assert pieces.stopped == bool(starts)


def test_a_character_that_stays_incomplete_is_replaced_at_the_end():
    pieces = Pieces(TOKENIZER)
    assert pieces.add(TOKENIZER.id_of(b"\xf0")) == ""
    assert pieces.end() == "�"


def test_pieces_show_a_special_token_if_it_is_named():
    pieces = Pieces(TOKENIZER, shown=["<|im_start|>", "no token"])
    ids = [TOKENIZER.id_of(text) for text in (b"<|im_start|>", b"a", b"<|im_end|>")]
    assert "".join(map(pieces.add, ids)) + pieces.end() == "<|im_start|>a"
