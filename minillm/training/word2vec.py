"""The training of word2vec: the words that have a vector, sentences from a stream, checkpoints.

A text of any size is read as a stream.  Its ids go to a temporary file, which the system caches in
free memory.

The learning rate falls linearly with the words that were read, to ``FINAL_RATE`` at the end.  A
part of the corpus is learned from at once; the training logs, saves and stops only between parts.
So a run that is resumed gives the same bits.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from minillm.data.corpora import TextStream
from minillm.data.files import naming
from minillm.errors import DivergedError, InputError, short
from minillm.models.word2vec import Word2Vec
from minillm.text import check_texts
from minillm.text.words import split_words
from minillm.training.checkpoints import Count, Loss, Number, copy_arrays, reading_checkpoint
from minillm.training.loop import interrupts
from minillm.training.progress import ProgressDisplay

LONGEST = 1000  # words in a sentence; a longer line becomes several sentences
PART_WORDS = 100_000  # between two checks of the clock
FINAL_RATE = 1e-4  # of a run, at its end
LINES = 10  # the lines that report the loss, evenly over a run


# --- the corpus -----------------------------------------------------------------


@dataclass(frozen=True)
class WordCounts:
    """The words that have a vector, the most frequent first, and their counts."""

    words: list[str]
    counts: NDArray[np.int64]
    pretokenised: bool

    def __len__(self) -> int:
        return len(self.words)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        counts = self.counts.tolist()
        return {"words": self.words, "counts": counts, "pretokenised": self.pretokenised}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "WordCounts":
        """Read a result of :meth:`to_dict`; KeyError or ValueError if it is damaged."""
        words, counts, pretokenised = (values[name] for name in ("words", "counts", "pretokenised"))
        check_texts(words, "words")
        if not isinstance(counts, list) or len(counts) != len(words):
            raise ValueError(f"counts: expected {len(words)}, found {short(counts)}")
        if not all(type(count) is int and count > 0 for count in counts) or sum(counts) > 2**62:
            raise ValueError(f"counts: expected whole numbers from 1 up, found {short(counts)}")
        if len(set(words)) < len(words):
            raise ValueError(f"words: expected each once, found {len(set(words))} of {len(words)}")
        if not isinstance(pretokenised, bool):
            raise ValueError(f"pretokenised: expected true or false, found {short(pretokenised)}")
        return cls(words, np.array(counts, np.int64), pretokenised)


def count_words(
    text: TextStream,
    minimum_count: int,
    pretokenised: bool,
    report: Callable[[str], None] = lambda line: None,
) -> WordCounts:
    """Count the words that occur at least minimum_count times; report how many do not."""
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
    if len(frequent) < len(counter):
        report(
            f"{len(frequent):,} of {len(counter):,} different words occur {minimum_count} times or "
            f"more, {counts.sum() / counter.total():.0%} of the text; the others have no vector "
            "(minimum_count)"
        )
    return WordCounts(frequent, counts, pretokenised)


def encode_sentences(
    blocks: Iterable[str], words: WordCounts
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """The ids of the known words, and the starts of the sentences, block by block."""
    ids = {word: number for number, word in enumerate(words.words)}
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


class Corpus:
    """The sentences of a text as ids, in a temporary file, in parts of about PART_WORDS words.

    ``words`` and ``sentences`` are the numbers of the whole text.
    """

    def __init__(self, words: WordCounts, text: TextStream, file: IO[bytes]):
        self._file, self._parts = file, list[tuple[int, int]]()  # words and sentences of each
        self.words = self.sentences = 0
        try:
            for ids, starts in encode_sentences(text.blocks(), words):
                self._write(ids, starts)
            with naming(tempfile.gettempdir()):
                file.flush()
        except OSError:
            with suppress(OSError):
                file.close()  # which tries to write the rest again
            raise

    def _write(self, ids: NDArray, starts: NDArray) -> None:
        for first, last in pairwise(_cuts(starts)):
            begin, end = starts[first], starts[last]
            with naming(tempfile.gettempdir()):
                self._file.write(ids[begin:end].data)
                self._file.write((starts[first : last + 1] - begin).data)
            self._parts.append((int(end - begin), last - first))
        self.words += len(ids)
        self.sentences += len(starts) - 1

    def parts(
        self, skip: int = 0, epochs: int = 1
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
        """The ids and starts of each part of ``epochs`` epochs.

        The first ``skip`` sentences are left out; they must be whole parts.
        """
        for _ in range(epochs):
            at = 0
            for words, sentences in self._parts:
                if skip > 0:
                    skip -= sentences
                else:
                    self._file.seek(at)
                    ids = np.fromfile(self._file, np.int32, words)
                    yield ids, np.fromfile(self._file, np.int64, sentences + 1)
                at += 4 * words + 8 * (sentences + 1)


def _cuts(starts: NDArray[np.int64]) -> list[int]:
    """The sentences before which the text is cut, about every PART_WORDS words; and its end."""
    cuts, count = [0], len(starts) - 1
    while cuts[-1] < count:
        last = int(np.searchsorted(starts, starts[cuts[-1]] + PART_WORDS, "right")) - 1
        cuts.append(min(max(last, cuts[-1] + 1), count))
    return cuts


# --- training -------------------------------------------------------------------


@dataclass
class Progress:
    """The sentences and words of all epochs so far, and the sum of the losses."""

    sentences: Count = 0
    words: Count = 0
    loss: Loss = 0.0  # since the last line of metrics
    predictions: Count = 0
    seconds: Number = 0.0


def learning_rates(
    words: int, starts: NDArray[np.int64], total: int, first: float, last: float
) -> NDArray[np.float64]:
    """The learning rate of each sentence: it falls linearly with the words before it.

    words: the number of words before the first of these sentences.
    """
    done = (words + starts[:-1]) / total
    return np.maximum(last, first + (last - first) * done)


def train_word2vec(
    model: Word2Vec,
    corpus: Corpus,
    settings: Any,
    store: Any,
    progress: Progress,
    quiet: bool = False,
) -> bool:
    """Train to the end and return True; or False if Ctrl-C or SIGTERM stopped it.

    The store gets metrics and checkpoints.  settings has epochs, learning_rate,
    seed, threads, checkpoint_seconds.  DivergedError if the loss is not finite.
    """
    total = settings.epochs * corpus.words
    store.trim_metrics(progress.words)
    started, saved = time.monotonic() - progress.seconds, progress.seconds
    logged = shown = progress.words
    display = ProgressDisplay(progress.words / total, quiet, "word", "{:,} words")
    with interrupts(quiet) as interrupted, display:
        for ids, starts in corpus.parts(progress.sentences, settings.epochs):
            rates = learning_rates(
                progress.words, starts, total, settings.learning_rate, FINAL_RATE
            )
            loss, predictions = model.learn(
                ids, starts, rates, settings.seed, progress.sentences, settings.threads
            )
            if not np.isfinite(loss):
                raise DivergedError(
                    f"the training diverged after {progress.words:,} words at learning rate "
                    f"{rates[-1]:.4g}: a lower one may help"
                )
            progress.sentences += len(rates)
            progress.words += len(ids)
            progress.loss += float(loss)
            progress.predictions += int(predictions)
            progress.seconds = time.monotonic() - started
            words, mean = progress.words, loss / max(1, predictions)
            display.update(words / total, words, mean, words, progress.seconds)
            if LINES * words // total > LINES * shown // total:
                display.line(words, {"loss": mean})
            shown = words
            if (words - logged) * 100 >= total or words == total:
                store.append_metrics(
                    {
                        "step": words,
                        "seconds": round(progress.seconds, 3),
                        "loss": progress.loss / max(1, progress.predictions),
                        "learning_rate": float(rates[-1]),
                    }
                )
                progress.loss, progress.predictions, logged = 0.0, 0, words
            if progress.seconds - saved >= settings.checkpoint_seconds:
                save_all(store, model, progress)
                saved = progress.seconds
            if interrupted.is_set():
                break
        save_all(store, model, progress)
    return progress.words >= total


def mean_loss(model: Word2Vec, words: WordCounts, blocks: Iterable[str]) -> tuple[float, int, int]:
    """The mean loss of a prediction in nats, and the numbers of predictions and words."""
    total, predictions, known, sentences = 0.0, 0, 0, 0
    for ids, starts in encode_sentences(blocks, words):
        loss, n = model.learn(ids, starts, np.zeros(len(starts) - 1), 0, sentences)
        total, predictions = total + loss, predictions + n
        known, sentences = known + len(ids), sentences + len(starts) - 1
    if predictions == 0:
        raise InputError("the text has no two known words in one line: there is nothing to predict")
    return total / predictions, predictions, known


# --- checkpoints -----------------------------------------------------------------


def save_all(store: Any, model: Word2Vec, progress: Progress) -> None:
    """Store the vectors, then everything needed to resume."""
    store.save_model(model.params, {"words": progress.words})
    save_progress(store, model, progress)


def save_progress(store: Any, model: Word2Vec, progress: Progress) -> None:
    """Store everything needed to resume."""
    store.save_resume(model.params, {"progress": asdict(progress)})


def restore_progress(store: Any, model: Word2Vec) -> Progress:
    """Restore a result of :func:`save_progress`."""
    arrays, values = store.load_resume()
    name = str(store.resume_path)
    copy_arrays(arrays, model.params, name)
    with reading_checkpoint(name):
        return msgspec.convert(values["progress"], Progress)
