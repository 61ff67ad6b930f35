"""n-gram models: counted, not trained (1980); and the best one of a text, next to a network.

Counting takes a second.  So a network is worth its training only if it predicts better than the
counts of its own training text.  The n-grams of that text are counted in the tokens of the network,
and smoothed by the default method.  Each order is measured on the text that the network is measured
on, and the best one is reported.  Like the network, these n-grams read on over the ends of lines,
whereas `minillm train ngram` begins each line of words anew.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.data import minimal_pairs
from minillm.data.corpora import TextStream, sentence_starts
from minillm.data.windows import Ids
from minillm.decoding import Continuation, Reader, Sampling, write
from minillm.decoding.recurrent import one_hot
from minillm.errors import InputError
from minillm.look.measurements import read_counted
from minillm.look.trace import Trace
from minillm.metrics import measure_minimal_pairs, perplexity
from minillm.models import ngram_cache
from minillm.models.language_model import LanguageModel
from minillm.models.mixture import LENGTHS, Mixed, Mixture, class_of
from minillm.models.ngram import SMOOTHINGS, NGram, NGramConfig, Score, count_ngrams, estimate
from minillm.option import check_names, make, types_of
from minillm.runs.config import save_run
from minillm.runs.kind import EvalData, Kind, Results, Training, Vocabularies, Weights
from minillm.runs.kinds.texts import (
    check_size,
    evaluation_blocks,
    figures_of,
    given_vocabulary,
    held_out_ids,
    inside_by,
    language_results,
    per_byte_and_character,
    training_ids,
)
from minillm.runs.load import run_of
from minillm.runs.run import Run
from minillm.runs.settings import (
    EvalOptions,
    FilesSettings,
    VocabularySettings,
    of_text,
    settings,
)
from minillm.text import Vocabulary, banned_ids, opening_id, unit_name
from minillm.training.language_model import stretches
from minillm.training.ngram import score_text, train_ngram

COUNTED = 2_000_000  # tokens of a network's training text at most: some seconds, and 300 MB
COMPARED = 200_000  # tokens that orders are compared on
BLOCK = 1 << 20  # tokens that are scored at a time
CHARACTERS, TOKENS = 10, 5  # the highest order of characters, and of longer tokens
ORDER = 20  # of the cache

Losses = NDArray[np.float64]


class WritingRun(Run):
    """A run of a model that writes a text on."""

    tokenizer: Vocabulary

    @cached_property
    def reader(self) -> Any:
        """The reader of the model: see :class:`minillm.decoding.Reader`."""
        return Reader(self.model)

    def write(
        self,
        prompt: str = "",
        length: int = 500,
        stop: Sequence[str] = (),
        **sampling: object,
    ) -> Iterator[str]:
        """The prompt and its continuation, piece by piece as it is drawn.

        ``length`` counts tokens.  The text ends before a token in ``stop``.  A model that was
        trained on documents may also end it.  The other arguments, such as ``temperature`` and
        ``seed``, are the fields of :class:`minillm.decoding.Sampling`.

        >>> run = minillm.load("runs/first")  # doctest: +SKIP
        >>> "".join(run.write("The ", length=200, seed=1))  # doctest: +SKIP
        """
        check_names(sampling, [*types_of(Sampling), "length", "stop"])
        options = make(Sampling, sampling)
        documents = bool(self.data.get("documents"))
        return written(self.model, self.tokenizer, prompt, length, options, stop, documents)

    def generate(self, prompt: str = "", **options: Any) -> str:
        """The prompt and its continuation as one text; it has the options of ``write``.

        >>> minillm.load("runs/first").generate("The ", length=200, seed=1)  # doctest: +SKIP
        """
        return "".join(self.write(prompt, **options))

    def minimal_pairs(self, name: str | Path = minimal_pairs.NAME) -> Results:
        """The shares of pairs whose good sentence is more probable than the bad one, by group.

        ``name`` is a file, or by default the built-in set: see
        :func:`minillm.data.minimal_pairs.read`.  "total" compares the log-probabilities
        of the sentences, "mean" their means per token.  A sentence opens a line, or a document.
        """
        pairs = minimal_pairs.read(name)
        opening = self.tokenizer.opened(np.zeros(0, np.int32))
        if not len(opening):
            opening = np.array([opening_id(self.tokenizer, bool(self.data.get("documents")))])
        scores = np.zeros((2, 2, len(pairs)))  # total and mean, of the good and the bad sentences
        for side, which in enumerate(("good", "bad")):
            sentences = [pair[side] for pair in pairs]
            places = [f"{pair.place}, the {which} sentence" for pair in pairs]
            for at, ids in enumerate(self.tokenizer.encode_each(sentences, places)):
                if not len(ids):
                    raise InputError(f"{places[at]}: expected one token or more, found none")
                losses = self.losses_after(np.append(opening, ids))
                scores[:, side, at] = -losses.sum(), -losses.mean()
        group_of = np.array([pair.group for pair in pairs])
        groups = {group: group_of == group for group in dict.fromkeys(group_of.tolist()) if group}

        def measured(chosen: Any) -> Results:
            total, mean = (measure_minimal_pairs(*of_all[:, chosen]) for of_all in scores)
            return {"total": total, "mean": mean}

        return {
            "data": str(name),
            **measured(slice(None)),
            "groups": {group: measured(chosen) for group, chosen in groups.items()},
        }

    def losses_after(self, ids: Ids) -> Losses:
        """The loss of each token of a text after the first, in nats: ids (T,) -> (T - 1,)."""
        raise NotImplementedError


def written(
    model: Any,
    tokenizer: Vocabulary,
    prompt: str,
    length: int,
    sampling: Sampling,
    stop: Sequence[str] = (),
    documents: bool = False,
) -> Iterator[str]:
    """The prompt and its continuation of ``length`` tokens, piece by piece.

    Without a prompt, the model starts a new line, if its vocabulary has line ends.  A model that
    was trained on ``documents`` starts a document, and ends it with EOS.  BOS precedes the prompt
    if the vocabulary says so, and is not written.  Nor is the unknown word.
    """
    ids = tokenizer.encode_known(prompt, "prompt")
    if prompt and not len(ids):
        raise InputError(f"expected one token or more, found none in {prompt!r}", "prompt")
    ends = [] if tokenizer.eos is None else [tokenizer.eos]
    for text in stop:
        token = tokenizer.encode_known(text, "stop")
        if len(token) != 1:
            raise InputError(f"expected a single {unit_name(tokenizer)}, found {text!r}", "stop")
        ends.append(int(token[0]))
    banned = banned_ids(tokenizer, documents, model.config.vocabulary)
    opening = np.array([opening_id(tokenizer, documents)])
    read = (tokenizer.opened(ids) if len(ids) else opening).tolist()
    if isinstance(model, LanguageModel) and len(tokenizer) < length:
        model = one_hot(model)  # E W_x has fewer rows than there are steps
    return tokenizer.stream(
        chain(ids, write(model, Continuation(read, length, sampling, frozenset(ends), banned)))
    )


# --- the kind -------------------------------------------------------------------------------------


NGramSettings = settings(
    FilesSettings,
    VocabularySettings,
    config=NGramConfig,
    sizes="order smoothing k prune",
    order={"help": "length of the longest n-grams", "metavar": "N", "most": 20},
    smoothing={"help": "how unseen n-grams get a probability", "choices": tuple(SMOOTHINGS)},
    k={"help": "add-k adds K to each count", "metavar": "K", "above": 0, "rare": True},
    prune={
        "help": "leave out n-grams seen at most C times: 2-grams, 3-grams and so on, and longer",
        "metavar": "C",
        "least": 0,
        "most": 10**12,
        "default_help": "0: none",
    },
    unit=(str, of_text("word", "the tokens of the n-grams", choices=("character", "word", "bpe"))),
    minimum_count={"rare": False},
    vocabulary={"default": None, "most": 10**8, "default_help": "all words; 8000 byte pairs"},
)


class NGramRun(WritingRun):
    """A run of an n-gram model."""

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """Nats and bits per token, and perplexity with and without the unknown words."""
        name, blocks = evaluation_blocks(self, data, held_out=True)
        return text_results(self.model, self.tokenizer, blocks, name)

    def trace(self, text: str) -> Trace:
        """The arrays that ``look`` shows of a text."""
        return inside_by(read_counted, self, text)

    def losses_after(self, ids: Ids) -> Losses:
        """See :meth:`WritingRun.losses_after`."""
        start, line_end = self.model.config.start, self.model.config.line_end
        [text] = sentence_starts([np.asarray(ids, np.int32)], start, line_end)
        losses = -math.log(10) * self.model.probabilities(text)
        return losses[text != start][1:]


def train(training: Training) -> bool:
    """Count, smooth, save, and measure on the held-out text."""
    settings, folder = training.settings, training.folder
    if list(settings.prune) != sorted(settings.prune):
        raise InputError(f"expected counts that do not fall, found {list(settings.prune)}", "prune")
    start = time.perf_counter()
    text = TextStream(training.data["files"])
    cut = text.characters * 9 // 10
    # By default, the vocabulary is counted in the text.
    check_size(settings.unit, settings.vocabulary)
    vocabulary = given_vocabulary(training)
    training.model, tokenizer, tokens = train_ngram(text, cut, settings, vocabulary)
    seconds = time.perf_counter() - start
    training.report(f"{tokens:,} tokens in {seconds:.1f} s")
    training.record(text.sha256, "the text")
    save_run(folder, training.config(), training.model.params, {"tokenizer": tokenizer})
    counts = enumerate(training.model.config.sizes, start=1)
    training.report(", ".join(f"{count:,} {n}-grams" for n, count in counts))
    held_out = text.blocks(start=cut)
    results = text_results(training.model, tokenizer, held_out, "the held-out last tenth")
    for key in ("bits_per_token", "perplexity"):
        training.report(f"held-out {key.replace('_', ' ')}: {results[key]:.4f}")
    training.report(f"saved in {folder.path}")
    return True


def build(config: NGramConfig, vocabularies: Vocabularies, weights: Weights, _: type) -> NGram:
    """The model.  ValueError, with the array's name, for a damaged one."""
    names = [f"word.{n}" for n in range(1, config.order + 1)]
    if tuple(weights[name].size for name in names) != config.sizes:
        raise ValueError("its sizes do not agree with the tensors stored")
    return NGram(config, dict(weights))


def text_results(model: NGram, tokenizer: Vocabulary, blocks: Iterable[str], name: str) -> Results:
    """The figures of an n-gram model on a text, with and without its unknown words."""
    blocks = list(blocks)
    score = score_text(model, tokenizer, blocks, name)
    tokens = score.tokens + score.unknown
    nats = -(score.log10 + score.unknown_log10) * math.log(10) / tokens
    results = language_results(name, tokenizer, nats, tokens)
    if tokenizer.unknown is None:
        return results | per_byte_and_character(nats * tokens, blocks)
    known_nats = -score.log10 * math.log(10) / max(1, score.tokens)
    results["unknown_share"] = score.unknown / tokens
    return results | {"perplexity_of_known": perplexity(known_nats)}


NGRAM = Kind(
    name="ngram",
    description="""\
Count the n-grams of a text, and smooth the counts into probabilities.  The last tenth of the text
is held out, to measure the model on it.  In a model of words, each line is a sentence.""",
    examples="""\
  minillm train ngram shakespeare.txt --out runs/words
  minillm train ngram shakespeare.txt --unit character --order 7 --out runs/characters
  minillm train ngram shakespeare.txt --order 3 --smoothing witten-bell --out runs/wb

then: minillm generate DIR, minillm eval DIR, minillm export DIR model.arpa""",
    run=NGramRun,
    model=NGram,
    config=NGramConfig,
    train=train,
    build=build,
    imported=run_of,
    takes=("text",),
    resumable=False,
    settings=NGramSettings,
)


# --- the best n-gram of a network's text ---------------------------------------------------


class BestNGram(NamedTuple):
    """The best order of ``orders``, its loss in nats per token, and the tokens counted, of all."""

    order: int
    orders: int
    nats: float
    counted: int
    tokens: int

    def describe(self, unit: str) -> str:
        """A line about it."""
        what = "the training text"
        if self.counted < self.tokens:
            what = f"the first {self.counted:,} of {self.tokens:,} training {unit}s"
        return (
            f"best n-gram of {what}: {self.nats:.4f} nats per {unit} "
            f"(order {self.order}, of 1 to {self.orders})"
        )


def best_ngram(training: Ids, held_out: Ids, tokenizer: Vocabulary) -> tuple[NGram, BestNGram]:
    """Count the n-grams of a text, and return the model that predicts the held-out text best.

    Time and memory are bounded: the first ``COUNTED`` tokens are counted, and orders are compared
    on ``COMPARED`` tokens spread over the held-out text.  The loss is measured on the whole.
    """
    V, orders = len(tokenizer), CHARACTERS if tokenizer.unit == "character" else TOKENS
    text = np.asarray(training[:COUNTED])
    levels = count_ngrams(np.concatenate(list(_blocks(text, V))), orders, V)
    some = stretches(held_out, COMPARED)
    best, loss = None, math.inf
    for order in range(1, orders + 1):
        model = estimate(levels[:order], NGramConfig(vocabulary=V, order=order))
        nats = _nats(model, some)
        if best is None or nats < loss:
            best, loss = model, nats
    assert best is not None
    if len(some) < len(held_out):
        loss = _nats(best, held_out)
    return best, BestNGram(best.config.order, orders, loss, len(text), len(training))


def ngram_of(training: Ids, tokenizer: Vocabulary) -> NGram:
    """The n-grams of a text; the order is the best one for its last tenth, after the rest."""
    V, text = len(tokenizer), np.asarray(training[:COUNTED])
    held_out = max(1, len(text) // 10)
    order = best_ngram(text[:-held_out], text[-held_out:], tokenizer)[1].order
    levels = count_ngrams(np.concatenate(list(_blocks(text, V))), order, V)
    return estimate(levels, NGramConfig(vocabulary=V, order=order))


def results_beside(run: Run, held_out: Ids) -> Results:
    """The figures of the best n-gram of a run's training text, or why there are none."""
    try:
        training = training_ids(run)
    except InputError as error:
        return {"best_ngram": f"not measured: {error}"}
    _, best = best_ngram(training, held_out, run.tokenizer)
    results: Results = {"best_ngram_nats_per_token": best.nats, "best_ngram_order": best.order}
    if best.counted < best.tokens:
        results["best_ngram_counted"] = f"{best.counted:,} of {best.tokens:,} training tokens"
    return results


def trace_beside(run: Run, text: str) -> Trace | None:
    """The predictions of the best n-gram of a run's training text, for a look at a text.

    None if the training text cannot be read again.
    """
    try:
        training, held_out = training_ids(run), held_out_ids(run)
    except InputError:
        return None
    model, best = best_ngram(training, held_out, run.tokenizer)
    names = {"model": f"n-grams of order {best.order}", "name": "the best n-gram of its text"}
    return inside_by(read_counted, run, text, model, **names)


def _nats(model: NGram, ids: Ids) -> float:
    score: Score = model.score(_blocks(ids, model.config.start))
    return -score.log10 * math.log(10) / score.tokens


def _blocks(ids: Ids, start: int) -> Iterator[np.ndarray]:
    """Yield a text block by block, with the start in front of it."""
    blocks = (ids[at : at + BLOCK] for at in range(0, len(ids), BLOCK))
    return sentence_starts(blocks, start, None)


# --- a mixture of a network with n-grams ----------------------------------------------------


class MixtureReader:
    """The mixture of a run: it reads one text after another, and keeps the weights."""

    def __init__(self, run: Run):
        self.run = run
        self.counted: NGram | None = None
        with suppress(InputError):  # the text may be gone
            self.counted = ngram_of(training_ids(run)[:COUNTED], run.tokenizer)
        self.names = ["network", "cache", *["ngram"] * (self.counted is not None)]
        self.mixture = Mixture(len(self.names), len(LENGTHS))

    def read(self, ids: Ids, losses: Losses) -> Mixed:
        """Mix the predictions of the tokens after the first: losses (T,) are the network's."""
        V, tokens = len(self.run.tokenizer), slice(1, 1 + len(losses))
        ids = np.asarray(ids[: tokens.stop], np.int32)
        cached, context = ngram_cache.read(ids, ORDER, V)
        p = [np.exp(-losses), cached[tokens]]
        if self.counted is not None:
            log10_p = self.counted.probabilities(np.append(np.int32(V), ids))[1:]
            p.append(10 ** log10_p[tokens])
        return self.mixture.read(np.stack(p), class_of(context)[tokens])

    def results(self, ids: Ids, losses: Losses) -> Results:
        """The figures of the mixture on a text, and the mean of each weight."""
        mixed = self.read(ids, losses)
        nats, tokens = -float(np.log(mixed.p).mean()), len(losses)
        results = figures_of("mixture", self.run.tokenizer, ids, nats, tokens)
        for name, weights in zip(self.names, mixed.weights, strict=True):
            results[f"mixture_weight_of_{name}"] = float(weights.mean())
        return results
