"""The training of word2vec: sentences from a stream, epochs, checkpoints, one rank or several.

    mpiexec -n 4 minillm train word2vec FILE --out runs/w

Each of several ranks has a replica of the vectors, and learns from its share of the sentences.  At
intervals they meet, and every replica W_r becomes the mean of all n:

    W = 1/n sum over r of W_r        (McDonald, Hall and Mann 2010, "iterative parameter mixing")

A step of word2vec changes a few rows, and averaging all rows takes as long as learning from
thousands of words.  So the ranks meet after AVERAGE_EVERY words of each: more often, they would
spend less time on learning; less often, the replicas would differ more, and their mean be worse.

**The learning rate.**  Between two meetings replica r changes by D_r, and the mean by
1/n (D_1 + ... + D_n).  One process that read all of these words would change by about their sum, so
that the mean moves as if its learning rate were divided by n.  Multiplying it by n puts that right
(Goyal et al. 2017), but with many ranks, frequent words go too far in each replica, and training
diverges.  So the rate is raised up to a limit, and falls more steeply:

    rate = min(n, 8) learning_rate        at the start; at the end it is the same for any n

**Repeatable.**  The place of a sentence in the text decides which rank learns from it.  Its random
numbers are the same on any rank.  The ranks meet after the same words in every run, and save or
stop only there.  So a run that is resumed on the same number of ranks gives the same bits.

Sources: McDonald, Hall and Mann (2010), "Distributed training strategies for the structured
perceptron", for the mixing; Ji, Satish, Li and Dubey (2016), "Parallelizing word2vec in shared and
distributed memory", and their program pWord2Vec; Gupta and Khare (2017), "BlazingText: scaling and
accelerating word2vec using multiple GPUs", which has replicas, too; Goyal et al. (2017), "Accurate,
large minibatch SGD: training ImageNet in 1 hour", section 2.1.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.streams import Spill, TextStream
from minillm.errors import DivergedError, InputError, short
from minillm.models.word2vec import Word2Vec
from minillm.mpi import ranks
from minillm.text import check_texts
from minillm.text.words import split_words
from minillm.training.checkpoints import Store, copy_arrays, numbers_from
from minillm.training.loop import interrupts
from minillm.training.parallel import check_replicas
from minillm.training.progress import ProgressDisplay

LONGEST = 1000  # words in a sentence; a longer line becomes several sentences
STRETCH = 100_000  # words between two checks of the clock
AVERAGE_EVERY = 50_000  # words that each of several ranks learns from between two meetings
MOST_TIMES = 8  # the largest factor by which several ranks raise the learning rate
LINES = 10  # the lines that report the loss, evenly over a run


@dataclass(frozen=True, repr=False)
class WordCounts:
    """The words that have a vector, the most frequent first, and their counts."""

    words: list[str]
    counts: NDArray[np.int64]
    pretokenised: bool

    def __len__(self) -> int:
        return len(self.words)

    def __repr__(self) -> str:
        return f"<WordCounts: {len(self):,} words>"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        counts = self.counts.tolist()
        return {"words": self.words, "counts": counts, "pretokenised": self.pretokenised}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "WordCounts":
        """Read a result of :meth:`to_dict`; KeyError or ValueError if it is damaged."""
        words, counts, pretokenised = (values[name] for name in ("words", "counts", "pretokenised"))
        check_texts(words, "words")
        if not isinstance(counts, list) or len(counts) != len(words):
            raise ValueError(f"there are {len(words)} words: expected as many counts")
        if not all(type(count) is int and count > 0 for count in counts) or sum(counts) > 2**62:
            raise ValueError("counts: expected whole numbers from 1 up")
        if len(set(words)) < len(words):
            raise ValueError("words: expected each once")
        if not isinstance(pretokenised, bool):
            raise ValueError(f"pretokenised: expected true or false, found {short(pretokenised)}")
        return cls(words, np.array(counts, np.int64), pretokenised)


@dataclass
class Progress:
    """The sentences and words of all epochs so far, and the sum of the losses."""

    sentences: int = 0
    words: int = 0
    loss: float = 0.0  # since the last line of metrics
    predictions: int = 0
    seconds: float = 0.0


# --- the text ------------------------------------------------------------------


def count_words(text: TextStream, minimum_count: int, pretokenised: bool) -> WordCounts:
    """Count the words that occur at least minimum_count times."""
    counter: Counter[str] = Counter()
    for block in text.blocks():
        counter.update(split_words(block, pretokenised))
    del counter["\n"]
    frequent = [word for word, count in counter.items() if count >= minimum_count]
    frequent.sort(key=lambda word: (-counter[word], word))
    if len(frequent) < 2:
        raise InputError(
            f"{', '.join(text.files) or 'the text'}: expected at least 2 words that occur "
            f"{minimum_count} times or more, found {len(frequent)}"
        )
    counts = np.array([counter[word] for word in frequent], np.int64)
    return WordCounts(frequent, counts, pretokenised)


def encode_sentences(
    blocks: Iterable[str], words: WordCounts
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """Yield the ids of the known words and the starts of the sentences, block by block."""
    ids = {word: id for id, word in enumerate(words.words)}
    ids["\n"] = -1
    for block in blocks:
        tokens = split_words(block, words.pretokenised)
        encoded = np.fromiter((ids.get(token, -2) for token in tokens), np.int32, len(tokens))
        known = encoded >= 0
        ends = np.cumsum(known)[encoded == -1]
        total = int(known.sum())
        # A sentence ends with its line or its block, or after LONGEST words.
        bounds = np.unique(np.concatenate([[0], ends, [total]]))
        lengths = np.diff(bounds)
        if (lengths > LONGEST).any():
            cuts = [np.arange(a, b, LONGEST) for a, b in pairwise(bounds)]
            bounds = np.concatenate([*cuts, [total]])
        if total:
            yield encoded[known], bounds.astype(np.int64)


@dataclass(frozen=True)
class Stretch:
    """Some sentences of the text, and a rank's share of them: ids and starts."""

    ids: Any  # (N,) of the share
    starts: Any  # (S + 1,) of the share's sentences among them
    words: int  # of all ranks
    sentences: int
    words_before: int  # of the stretch, before the share
    sentences_before: int


class Corpus:
    """The sentences of a text as ids: the first ``memory`` bytes in memory, the rest on disk.

    Each of ``size`` ranks has a share of every stretch: consecutive sentences, with about the same
    number of words for all ranks.  ``words`` and ``sentences`` are those of the whole text.
    """

    def __init__(
        self,
        words: WordCounts,
        text: TextStream,
        spill: Spill,
        memory: int,
        rank: int = 0,
        size: int = 1,
    ):
        self._stretches: list[Stretch] = []
        self.words, self.sentences, used = 0, 0, 0
        for ids, starts in encode_sentences(text.blocks(), words):
            for first, last in pairwise(_cuts(starts)):
                begin, end = starts[first], starts[last]
                # The sentences that begin in the rank's part of the words.
                bounds = begin + (end - begin) * np.arange(size + 1) // size
                shares = first + np.searchsorted(starts[first:last], bounds)
                a, b = shares[rank], shares[rank + 1]
                part, part_starts = ids[starts[a] : starts[b]], starts[a : b + 1] - starts[a]
                used += part.nbytes + part_starts.nbytes
                keep = spill.keep if used > memory else np.array
                self._stretches.append(
                    Stretch(
                        ids=keep(part),
                        starts=keep(part_starts),
                        words=int(end - begin),
                        sentences=last - first,
                        words_before=int(starts[a] - begin),
                        sentences_before=int(a - first),
                    )
                )
            self.words += len(ids)
            self.sentences += len(starts) - 1

    def stretches(self, skip: int = 0, epochs: int = 1) -> Iterator[Stretch]:
        """Yield the stretches of ``epochs`` epochs, except the first ``skip`` sentences."""
        for stretch in epochs * self._stretches:
            if skip >= stretch.sentences:
                skip -= stretch.sentences
            else:
                skip = 0
                yield replace(stretch, ids=stretch.ids[:], starts=stretch.starts[:])


def _cuts(starts: NDArray[np.int64]) -> list[int]:
    """Return the sentences at which stretches of about STRETCH words begin, and their number."""
    cuts, count = [0], len(starts) - 1
    while cuts[-1] < count:
        last = int(np.searchsorted(starts, starts[cuts[-1]] + STRETCH, "right")) - 1
        cuts.append(min(max(last, cuts[-1] + 1), count))
    return cuts


# --- training -------------------------------------------------------------------


def learning_rates(
    words: int, starts: NDArray[np.int64], total: int, first: float, last: float
) -> NDArray[np.float64]:
    """Return the learning rate of each sentence: it falls linearly with the words before it.

    words: the number of words before the first of these sentences.
    """
    done = (words + starts[:-1]) / total
    return np.maximum(last, first + (last - first) * done)


def starting_rate(learning_rate: float) -> float:
    """Return the initial learning rate of all ranks: see the top of this page."""
    return learning_rate * min(ranks().size, MOST_TIMES)


def train_word2vec(
    model: Word2Vec,
    corpus: Corpus,
    settings: Any,
    store: Store,
    progress: Progress,
    quiet: bool = False,
) -> bool:
    """Train to the end and return True; or False if Ctrl-C or SIGTERM stopped it.

    The store gets metrics and checkpoints.  All ranks of a job call this, each with its share of
    the corpus.  Their models are equal before and after.

    settings has epochs, learning_rate and final_rate, seed, threads, checkpoint_seconds.
    DivergedError if the loss is not finite.
    """
    total, first = settings.epochs * corpus.words, starting_rate(settings.learning_rate)
    apart = AVERAGE_EVERY * ranks().size if ranks().size > 1 else 0  # words
    store.trim_metrics(progress.words)
    started, saved = time.monotonic() - progress.seconds, progress.seconds
    logged = met = progress.words
    sums, rate = np.zeros(2), first  # loss and predictions since the last meeting
    display = ProgressDisplay(progress.words / total, quiet, "word", "{:,} words")
    with interrupts() as interrupted, display:
        for stretch in corpus.stretches(progress.sentences, settings.epochs):
            before = progress.words + stretch.words_before
            rates = learning_rates(before, stretch.starts, total, first, settings.final_rate)
            rate = float(rates[-1]) if len(rates) else rate
            number = progress.sentences + stretch.sentences_before
            loss, predictions = model.learn(
                stretch.ids, stretch.starts, rates, settings.seed, number, settings.threads
            )
            sums += loss, predictions
            progress.sentences += stretch.sentences
            progress.words += stretch.words
            seconds = time.monotonic() - started
            mean = loss / max(1, predictions)
            _show(display, progress.words, stretch.words, total, mean, seconds)
            if progress.words < total and progress.words - met < apart:
                continue
            progress.seconds, stopped = _meet(model, sums, seconds, interrupted.is_set())
            if not np.isfinite(sums[0]):
                raise DivergedError(
                    f"the training diverged after {met:,} words at learning rate {rate:.4g}: "
                    "a lower one may help"
                )
            progress.loss += float(sums[0])
            progress.predictions += int(sums[1])
            sums[:], met = 0, progress.words
            if (met - logged) * 100 >= total or met == total:
                store.append_metrics(
                    {
                        "step": met,
                        "seconds": round(progress.seconds, 3),
                        "loss": progress.loss / max(1, progress.predictions),
                        "learning_rate": rate,
                    }
                )
                progress.loss, progress.predictions, logged = 0.0, 0, met
            if progress.seconds - saved >= settings.checkpoint_seconds:
                save_all(store, model, progress)
                saved = progress.seconds
            if stopped:
                break
        save_all(store, model, progress)
    return progress.words >= total


def _meet(model: Word2Vec, sums: NDArray, seconds: float, stop: bool) -> tuple[float, bool]:
    """Replace all replicas by their mean, and ``sums`` by the sum over the ranks.

    Returns the seconds on rank 0, on which all ranks base their decisions, and whether any rank is
    to stop.
    """
    job = ranks()
    if job.size == 1:
        return seconds, stop
    numbers = np.array([*sums, seconds if job.rank == 0 else 0.0, stop])
    job.sum(numbers)
    sums[:] = numbers[:2]
    for matrix in model.matrices:
        job.sum(matrix)
        matrix /= job.size
    return float(numbers[2]), bool(numbers[3])


def _show(
    display: ProgressDisplay, words: int, of_stretch: int, total: int, loss: float, seconds: float
) -> None:
    """Show the progress after a stretch, with the loss of this rank's share."""
    done = words / total
    display.update(done, words, loss, words, seconds)
    if int(LINES * done) > int(LINES * (done - of_stretch / total)):
        display.line(words, {"loss": loss})


def mean_loss(model: Word2Vec, words: WordCounts, text: TextStream) -> tuple[float, int, int]:
    """Return the mean loss of a prediction in nats, and the numbers of predictions and words."""
    total, predictions, known, sentences = 0.0, 0, 0, 0
    for ids, starts in encode_sentences(text.blocks(), words):
        loss, n = model.learn(ids, starts, np.zeros(len(starts) - 1), 0, sentences)
        total, predictions = total + loss, predictions + n
        known, sentences = known + len(ids), sentences + len(starts) - 1
    if predictions == 0:
        raise InputError("the text has no two known words in one line: there is nothing to predict")
    return total / predictions, predictions, known


# --- checkpoints -----------------------------------------------------------------


def save_all(store: Store, model: Word2Vec, progress: Progress) -> None:
    """Store the vectors, then everything needed to resume.

    DivergedError unless the replicas of several ranks are the same.
    """
    check_replicas(model.params)
    store.save_model(model.params, {"words": progress.words})
    save_progress(store, model, progress)


def save_progress(store: Store, model: Word2Vec, progress: Progress) -> None:
    """Store everything needed to resume."""
    store.save_resume(model.params, {"progress": asdict(progress)})


def restore_progress(store: Store, model: Word2Vec) -> Progress:
    """Restore a result of :func:`save_progress`."""
    arrays, values = store.load_resume()
    name = str(store.resume_path)
    copy_arrays(arrays, model.params, name)
    try:
        return numbers_from(Progress, values["progress"])
    except KeyError as error:
        raise InputError(f"{name}: an entry is missing: {error}") from None
    except ValueError as error:
        raise InputError(f"{name}: it is damaged: {error}") from None
