"""The training of word2vec: sentences from a stream, epochs, checkpoints.

The learning rate falls linearly with the words that were read, to ``FINAL_RATE`` at the end.  A
part of the corpus is learned from at once; the training logs, saves and stops only between parts.
So a run that is resumed gives the same bits.
"""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from minillm.errors import DivergedError, InputError
from minillm.models.word2vec import Word2Vec
from minillm.training.checkpoints import Count, Loss, Number, copy_arrays, reading_checkpoint
from minillm.training.loop import interrupts
from minillm.training.progress import ProgressDisplay
from minillm.training.word2vec_corpus import Corpus, WordCounts, encode_sentences

FINAL_RATE = 1e-4  # of a run, at its end
LINES = 10  # the lines that report the loss, evenly over a run


@dataclass
class Progress:
    """The sentences and words of all epochs so far, and the sum of the losses."""

    sentences: Count = 0
    words: Count = 0
    loss: Loss = 0.0  # since the last line of metrics
    predictions: Count = 0
    seconds: Number = 0.0


# --- training -------------------------------------------------------------------


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
    with interrupts() as interrupted, display:
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
