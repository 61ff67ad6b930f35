"""From an encoder-decoder's logits to whole outputs: beam search and sampling, batched.

A model that decodes here has ``config.bos`` and ``config.eos``, ``start(source, lengths) ->
state`` and ``step(ids (B, K), state) -> logits (B, K, V + 1), weights, state``: K hypotheses of
each of B sources, which share what was read of the source.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minillm.data import Sequences
from minillm.decoding import next_probabilities, sample
from minillm.errors import InputError
from minillm.models.base import select
from minillm.text import Vocabulary, Words
from minillm.text.words import split_words

_BLOCK = 64

Step = tuple[NDArray, NDArray, NDArray | None]  # ids and parents (B, K), weights (B, K, S)


class Decoder(Protocol):
    """What decoding needs of a model."""

    config: Any  # has ``bos`` and ``eos``, the ids before the first token and after the last

    def start(self, source: NDArray, lengths: NDArray) -> Any: ...

    def step(self, ids: NDArray, state: Any) -> tuple[NDArray, NDArray | None, Any]: ...


@dataclass(frozen=True)
class Hypothesis:
    """One output: its ids without BOS and EOS, and what the model thinks of it."""

    ids: list[int]
    log_probability: float  # in nats, of all ids and of the EOS after them
    score: float  # what hypotheses are ranked by
    weights: NDArray | None  # (T, S) attention of each id, and of EOS if it ended
    ended: bool  # False: the limit cut it off


def beam_search(
    model: Decoder,
    source: NDArray[np.integer],
    lengths: NDArray[np.integer],
    beam: int = 5,
    limit: int = 100,
    length_exponent: float = 1.0,
    keep_weights: bool = False,
) -> list[list[Hypothesis]]:
    """The best outputs found for each source (B, S), best first, ``beam`` of each at most.

    Step by step, the ``beam`` likeliest beginnings of an output are kept, out of all that
    follow those of the step before.  One that ends among the ``beam`` likeliest is put
    aside.  All are ranked by

        score = log P(output | source) / T^length_exponent

    where T counts EOS: without the division, short outputs win, as every
    further token costs.  A source is done when ``beam`` outputs have ended and the best of
    them is no worse than the best beginning is by now, or at ``limit`` tokens.  (To stop
    at ``beam`` ends alone would let unlikely ends, of which there are some at every step
    when the model is sure of how to go on, crowd out the likely one.)

    With beam 1 this is the greedy choice.

    Source: Graves (2012), "Sequence transduction with recurrent neural networks",
    algorithm 1, in the form of Sutskever et al. (2014), section 3.2; the length
    normalisation is that of Bahdanau et al. (2015), section 5 (exponent 1).
    """
    if beam < 1:
        raise ValueError(f"beam must be at least 1, found {beam}")
    if limit < 1:
        raise ValueError(f"limit must be at least 1, found {limit}")
    bos, eos, exponent = model.config.bos, model.config.eos, length_exponent
    done: list[list[Hypothesis]] = [[] for _ in range(len(source))]
    at = np.arange(len(source))  # which source each row still at work is
    state = model.start(source, lengths)
    ids = np.full((len(source), 1), bos)  # (B, K): one beginning, the empty one
    totals = np.zeros((len(source), 1))  # (B, K): log P of each beginning
    history: list[Step] = []

    for t in range(limit):
        logits, weights, state = model.step(ids, state)
        K, V = logits.shape[1:]
        candidates = totals[..., None] + _log_softmax(logits)  # (B, K, V)
        chosen, scores = _largest(candidates.reshape(len(at), K * V), 2 * beam)  # (B, <= 2 beam)
        parents, tokens = np.divmod(chosen, V)
        ends = (tokens == eos) & np.isfinite(scores)

        kept_weights = weights if keep_weights else None
        for row, rank in zip(*np.nonzero(ends[:, :beam]), strict=True):
            path = _path(history, row, parents[row, rank], kept_weights)
            done[at[row]].append(_hypothesis(*path, scores[row, rank], t + 1, exponent, True))

        # Go on with the best that have not ended: among 2 beam there are beam of them.
        order = np.argsort(ends | ~np.isfinite(scores), axis=1, kind="stable")[:, :beam]
        parents, ids = (np.take_along_axis(x, order, axis=1) for x in (parents, tokens))
        totals = np.take_along_axis(np.where(ends, -np.inf, scores), order, axis=1)
        history.append((ids, parents, kept_weights))
        if t == limit - 1:
            for row, k in zip(*np.nonzero(np.isfinite(totals)), strict=True):
                path = _path(history, row, k, None)
                done[at[row]].append(_hypothesis(*path, totals[row, k], t + 1, exponent, False))
            break
        bars = [max(h.score for h in done[b]) if len(done[b]) >= beam else -np.inf for b in at]
        rows = np.flatnonzero(totals.max(axis=1) / (t + 1) ** exponent > bars)
        if len(rows) == 0:
            break
        state = select(state, rows, parents[rows])
        at, ids, totals = at[rows], ids[rows], totals[rows]
        history = [
            (ids[rows], parents[rows], None if weights is None else weights[rows])
            for ids, parents, weights in history
        ]
    return [sorted(found, key=lambda h: -h.score)[:beam] for found in done]


def sample_outputs(
    model: Decoder,
    source: NDArray[np.integer],
    lengths: NDArray[np.integer],
    rng: np.random.Generator,
    limit: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> list[Hypothesis]:
    """One output of each source (B, S), drawn token by token from the model's probabilities.

    The choice is that of :func:`minillm.decoding.next_probabilities`; the log probability
    is the model's own, whatever the temperature.
    """
    bos, eos = model.config.bos, model.config.eos
    B = len(source)
    state = model.start(source, lengths)
    ids = np.full((B, 1), bos)
    written = np.empty((B, limit), np.int64)
    log_probability, ended, T = np.zeros(B), np.zeros(B, bool), np.zeros(B, np.int64)
    for t in range(limit):
        logits, _, state = model.step(ids, state)
        drawn = sample(next_probabilities(logits[:, 0], temperature, top_k, top_p), rng)  # (B,)
        log_p = _log_softmax(logits)[np.arange(B), 0, drawn]
        log_probability += np.where(ended, 0, log_p)
        T += ~ended
        ended |= drawn == eos
        written[:, t] = drawn
        ids = drawn[:, None]
        if ended.all():
            break
    return [
        Hypothesis(
            written[b, : T[b] - ended[b]].tolist(),
            float(log_probability[b]),
            float(log_probability[b] / T[b]),
            None,
            bool(ended[b]),
        )
        for b in range(B)
    ]


@dataclass(frozen=True)
class Translation:
    """One output as text."""

    text: str
    hypothesis: Hypothesis


class Translator:
    """An encoder-decoder with its vocabularies: from texts to texts.

    Where a beam's output has the unknown word, and there is attention, the source's word
    that had most of the attention stands in for it: it is often a name, or a number.

    Source: Jean, Cho, Memisevic and Bengio (2015), "On using very large target vocabulary
    for neural machine translation", section 4.1.

    >>> translator = Translator(model, source, target, longest=100)  # doctest: +SKIP
    >>> translator.translate(["speech"])[0][0].text  # doctest: +SKIP
    'S P IY CH'
    """

    def __init__(
        self,
        model: Decoder,
        source: Vocabulary,
        target: Vocabulary,
        longest: int,
        limit: int | None = None,
    ):
        """``longest``: the most tokens of a source; ``limit``: of an output."""
        self.model, self.source, self.target = model, source, target
        self.longest, self.limit = longest, limit or longest

    def encode(self, texts: Sequence[str], places: Sequence[str] | None = None) -> Sequences:
        """The texts as ids.  InputError, with its place, for one that is empty or too long."""
        encoded = Sequences()
        for number, text in enumerate(texts):
            place = places[number] if places else f"text {number + 1}"
            ids = self.source.encode(text, place)
            if not 0 < len(ids) <= self.longest:
                raise InputError(
                    f"{place}: expected a text of 1 to {self.longest} {self.source.unit}s, "
                    f"found {len(ids)}"
                )
            encoded.append(ids)
        return encoded

    def translate(
        self,
        texts: Sequence[str],
        beam: int = 5,
        length_exponent: float = 1.0,
        temperature: float | None = None,
        rng: np.random.Generator | None = None,
        places: Sequence[str] | None = None,
        batch: int = 64,
        keep_weights: bool = False,
    ) -> list[list[Translation]]:
        """The outputs for each text, best first: by beam search, or drawn at a temperature.

        Texts of about one length are decoded together, ``batch`` of them at a time.
        """
        encoded = self.encode(texts, places)
        found: list[list[Translation]] = [[] for _ in texts]
        order = np.argsort(encoded.lengths, kind="stable")
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            source, lengths = encoded.padded(rows)
            if temperature is None:
                keep = keep_weights or isinstance(self.target, Words)
                outputs = beam_search(
                    self.model, source, lengths, beam, self.limit, length_exponent, keep
                )
            else:
                rng = rng or np.random.default_rng()
                drawn = sample_outputs(self.model, source, lengths, rng, self.limit, temperature)
                outputs = [[h] for h in drawn]
            for row, hypotheses in zip(rows, outputs, strict=True):
                found[row] = [Translation(self._text(texts[row], h), h) for h in hypotheses]
        return found

    def source_tokens(self, text: str) -> list[str]:
        """The tokens of a source as they stand in it, those that the model does not know too."""
        if isinstance(self.source, Words):
            return split_words(text, self.source.pretokenised)
        return list(text)

    def _text(self, source_text: str, hypothesis: Hypothesis) -> str:
        ids, weights = hypothesis.ids, hypothesis.weights
        if weights is None or not isinstance(self.target, Words):
            return self.target.decode(ids)
        tokens = self.source_tokens(source_text)
        places = (weights[t].argmax() for t, id in enumerate(ids) if id == self.target.unknown)
        return self.target.decode(ids, [tokens[place] for place in places])


def _log_softmax(logits: NDArray) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _largest(x: NDArray, count: int) -> tuple[NDArray, NDArray]:
    """The places of the ``count`` largest of each row, largest first, and what stands there.

    They are looked for in the ``count`` blocks with the largest largest entries, where they
    must be: to find a block's largest is quick, to select among all entries of a row is not.
    """
    rows, width = x.shape
    count = min(count, width)
    blocks = -(-width // _BLOCK)
    padded = np.full((rows, blocks * _BLOCK), -np.inf)
    padded[:, :width] = x
    tops = padded.reshape(rows, blocks, _BLOCK).max(axis=2)
    kept = min(count, blocks)
    chosen = np.argpartition(-tops, kept - 1, axis=1)[:, :kept]
    chosen.sort(axis=1)  # of equals, the first
    places = (chosen[:, :, None] * _BLOCK + np.arange(_BLOCK)).reshape(rows, -1)
    values = np.take_along_axis(padded, places, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    places = np.minimum(np.take_along_axis(places, order, axis=1), width - 1)  # off the padding
    return places, np.take_along_axis(values, order, axis=1)


def _path(
    history: list[Step],
    row: int,
    k: int,
    weights: NDArray | None,
) -> tuple[list[int], NDArray | None]:
    """The ids of a beginning, followed back from hypothesis k of a row, and its weights."""
    ids, looks = [], []
    if weights is not None:
        looks.append(weights[row, k])
    for step_ids, parents, step_weights in reversed(history):
        ids.append(int(step_ids[row, k]))
        k = parents[row, k]
        if step_weights is not None:
            looks.append(step_weights[row, k])
    return ids[::-1], np.array(looks[::-1]) if looks else None


def _hypothesis(
    ids: list[int],
    weights: NDArray | None,
    total: np.floating,
    T: int,
    exponent: float,
    ended: bool,
) -> Hypothesis:
    return Hypothesis(ids, float(total), float(total) / T**exponent, weights, ended)
