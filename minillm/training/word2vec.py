"""word2vec in training: sentences from a stream, epochs, checkpoints."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.streams import Spill, TextStream
from minillm.errors import DivergedError, InputError, short
from minillm.models.word2vec import Word2Vec
from minillm.text import check_texts
from minillm.text.words import split_words
from minillm.training.checkpoints import Store, copy_arrays, numbers_from
from minillm.training.loop import interrupts
from minillm.training.progress import ProgressDisplay

LONGEST = 1000  # words in a sentence; a longer line is several
STRETCH = 100_000  # words that are learnt between two checks of the clock
LINES = 10  # that tell of the loss, evenly over a run


@dataclass(frozen=True, repr=False)
class WordCounts:
    """The words that have a vector, the most frequent first, and how often each was seen."""

    words: list[str]
    counts: NDArray[np.int64]
    pretokenised: bool

    def __len__(self) -> int:
        return len(self.words)

    def __repr__(self) -> str:
        return f"<WordCounts: {len(self):,} words>"

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        counts = self.counts.tolist()
        return {"words": self.words, "counts": counts, "pretokenised": self.pretokenised}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "WordCounts":
        """What :meth:`to_dict` made; KeyError or ValueError where it is damaged."""
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
    """How far a training is, in sentences and words over all epochs, and the sum of its losses."""

    sentences: int = 0
    words: int = 0
    loss: float = 0.0  # since the last line of metrics
    predictions: int = 0
    seconds: float = 0.0


# --- the text ------------------------------------------------------------------


def count_words(text: TextStream, minimum_count: int, pretokenised: bool) -> WordCounts:
    """The words seen at least minimum_count times, the most frequent first, and how often."""
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
    """The known words' ids, and the starts of the sentences, for each block of lines."""
    ids = {word: id for id, word in enumerate(words.words)}
    ids["\n"] = -1
    for block in blocks:
        tokens = split_words(block, words.pretokenised)
        found = np.fromiter((ids.get(token, -2) for token in tokens), np.int32, len(tokens))
        known = found >= 0
        ends = np.cumsum(known)[found == -1]
        total = int(known.sum())
        # A sentence ends with its line or its block and, in a long line, after LONGEST words.
        bounds = np.unique(np.concatenate([[0], ends, [total]]))
        lengths = np.diff(bounds)
        if (lengths > LONGEST).any():
            cuts = [np.arange(a, b, LONGEST) for a, b in pairwise(bounds)]
            bounds = np.concatenate([*cuts, [total]])
        if total:
            yield found[known], bounds.astype(np.int64)


class Corpus:
    """A text's sentences as ids: the first ``memory`` bytes of them in memory, the rest on disk."""

    def __init__(self, words: WordCounts, text: TextStream, spill: Spill, memory: int):
        self._parts: list[tuple] = []
        self.words, self.sentences, used = 0, 0, 0
        for ids, starts in encode_sentences(text.blocks(), words):
            used += ids.nbytes + starts.nbytes
            keep = spill.keep if used > memory else np.asarray
            self._parts.append((keep(ids), keep(starts)))
            self.words += len(ids)
            self.sentences += len(starts) - 1

    def stretches(self, skip: int = 0) -> Iterator[tuple[NDArray, NDArray]]:
        """Some sentences at a time, as ids and starts; the first ``skip`` are left out."""
        for ids_kept, starts_kept in self._parts:
            ids, starts = ids_kept[:], starts_kept[:]
            if skip >= len(starts) - 1:
                skip -= len(starts) - 1
                continue
            first, skip = skip, 0
            while first < len(starts) - 1:
                last = int(np.searchsorted(starts, starts[first] + STRETCH, "right")) - 1
                last = min(max(last, first + 1), len(starts) - 1)
                yield ids[starts[first] : starts[last]], starts[first : last + 1] - starts[first]
                first = last


# --- training -------------------------------------------------------------------


def learning_rates(
    progress: Progress, starts: NDArray[np.int64], total: int, first: float, last: float
) -> NDArray[np.float64]:
    """The learning rate of each sentence: it falls linearly with the words before it."""
    done = (progress.words + starts[:-1]) / total
    return np.maximum(last, first + (last - first) * done)


def train_word2vec(
    model: Word2Vec,
    corpus: Corpus,
    settings: Any,
    store: Store,
    progress: Progress,
    quiet: bool = False,
) -> bool:
    """Trains to the end, and returns True; or False if Ctrl-C or SIGTERM stopped it before.

    The store gets metrics and checkpoints.

    settings has epochs, learning_rate and final_rate, seed, threads, checkpoint_seconds.
    DivergedError if the loss stops being finite.
    """
    total = settings.epochs * corpus.words
    store.trim_metrics(progress.words)
    started, saved = time.monotonic() - progress.seconds, time.monotonic()
    logged = progress.words
    with interrupts() as interrupted, _display(progress, total, quiet) as display:
        while progress.words < total and not interrupted.is_set():
            for words, starts in corpus.stretches(progress.sentences % corpus.sentences):
                rates = learning_rates(
                    progress, starts, total, settings.learning_rate, settings.final_rate
                )
                loss = _learn(model, words, starts, rates, settings, store, progress)
                progress.seconds = time.monotonic() - started
                done = progress.words / total
                display.update(done, progress.words, loss, progress.words, progress.seconds)
                if int(LINES * done) > int(LINES * (done - len(words) / total)):
                    display.line(progress.words, {"loss": loss})
                if (progress.words - logged) * 100 >= total or progress.words == total:
                    logged = progress.words
                    _log(store, progress, rates[-1])
                if time.monotonic() - saved >= settings.checkpoint_seconds:
                    save_all(store, model, progress)
                    saved = time.monotonic()
                if interrupted.is_set():
                    break
        save_all(store, model, progress)
    return progress.words >= total


def _learn(
    model: Word2Vec,
    words: NDArray,
    starts: NDArray,
    rates: NDArray,
    settings: Any,
    store: Store,
    progress: Progress,
) -> float:
    """Learns from some sentences, counts them, and returns their mean loss."""
    loss, predictions = model.learn(
        words, starts, rates, settings.seed, progress.sentences, settings.threads
    )
    if not np.isfinite(loss):
        raise DivergedError(
            f"the training diverged after {progress.words:,} words at learning rate "
            f"{rates[0]:.4g}: a lower one may help"
        )
    progress.sentences += len(rates)
    progress.words += len(words)
    progress.loss += loss
    progress.predictions += predictions
    return loss / max(1, predictions)


def _display(progress: Progress, total: int, quiet: bool) -> ProgressDisplay:
    return ProgressDisplay(progress.words / total, quiet, "word", "{:,} words")


def _log(store: Store, progress: Progress, rate: float) -> None:
    store.append_metrics(
        {
            "step": progress.words,
            "seconds": round(progress.seconds, 3),
            "loss": progress.loss / max(1, progress.predictions),
            "learning_rate": float(rate),
        }
    )
    progress.loss, progress.predictions = 0.0, 0


def mean_loss(model: Word2Vec, words: WordCounts, text: TextStream) -> tuple[float, int, int]:
    """The mean loss of a prediction in nats; how many predictions and known words there are."""
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
    """Stores the vectors, then all that resuming needs."""
    store.save_model(model.params, {"words": progress.words})
    save_progress(store, model, progress)


def save_progress(store: Store, model: Word2Vec, progress: Progress) -> None:
    """Stores all that resuming needs."""
    store.save_resume(model.params, {"progress": asdict(progress)})


def restore_progress(store: Store, model: Word2Vec) -> Progress:
    """Reads what `save_progress` stored."""
    arrays, values = store.load_resume()
    name = str(store.resume_path)
    copy_arrays(arrays, model.params, name)
    try:
        return numbers_from(Progress, values["progress"])
    except KeyError as error:
        raise InputError(f"{name}: something is missing from it: {error}") from None
    except ValueError as error:
        raise InputError(f"{name}: it is damaged: {error}") from None
