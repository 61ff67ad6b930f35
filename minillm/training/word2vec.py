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
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import DivergedError, InputError
from minillm.models.word2vec import Word2Vec
from minillm.mpi import ranks
from minillm.training.checkpoints import Store, copy_arrays, numbers_from, reading_checkpoint
from minillm.training.loop import interrupts
from minillm.training.parallel import check_replicas
from minillm.training.progress import ProgressDisplay
from minillm.training.word2vec_corpus import Corpus, WordCounts, encode_sentences

AVERAGE_EVERY = 50_000  # words that each of several ranks learns from between two meetings
MOST_TIMES = 8  # the largest factor by which several ranks raise the learning rate
LINES = 10  # the lines that report the loss, evenly over a run


@dataclass
class Progress:
    """The sentences and words of all epochs so far, and the sum of the losses."""

    sentences: int = 0
    words: int = 0
    loss: float = 0.0  # since the last line of metrics
    predictions: int = 0
    seconds: float = 0.0


# --- training -------------------------------------------------------------------


def learning_rates(
    words: int, starts: NDArray[np.int64], total: int, first: float, last: float
) -> NDArray[np.float64]:
    """The learning rate of each sentence: it falls linearly with the words before it.

    words: the number of words before the first of these sentences.
    """
    done = (words + starts[:-1]) / total
    return np.maximum(last, first + (last - first) * done)


def starting_rate(learning_rate: float) -> float:
    """The initial learning rate of all ranks: see the top of this page."""
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
        for share in corpus.shares(progress.sentences, settings.epochs):
            before = progress.words + share.words_before
            rates = learning_rates(before, share.starts, total, first, settings.final_rate)
            rate = float(rates[-1]) if len(rates) else rate
            number = progress.sentences + share.sentences_before
            loss, predictions = model.learn(
                share.ids, share.starts, rates, settings.seed, number, settings.threads
            )
            sums += loss, predictions
            progress.sentences += share.sentences
            progress.words += share.words
            seconds = time.monotonic() - started
            mean = loss / max(1, predictions)
            _show(display, progress.words, share.words, total, mean, seconds)
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
    display: ProgressDisplay, words: int, of_share: int, total: int, loss: float, seconds: float
) -> None:
    """Show the progress after a share, with the loss of this rank's share."""
    done = words / total
    display.update(done, words, loss, words, seconds)
    if int(LINES * done) > int(LINES * (done - of_share / total)):
        display.line(words, {"loss": loss})


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
    with reading_checkpoint(name):
        return numbers_from(Progress, values["progress"])
