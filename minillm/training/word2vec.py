"""word2vec in training: sentences from a stream, epochs, checkpoints."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.data.streams import Spill, TextStream
from minillm.errors import InputError
from minillm.models.word2vec import Word2Vec, Word2VecConfig
from minillm.text.words import split_words
from minillm.training.checkpoints import RunFolder, copy_arrays
from minillm.training.loop import interrupts
from minillm.training.progress import ProgressDisplay

LONGEST = 1000  # words in a sentence; a longer line is several
STRETCH = 100_000  # words between two looks at the clock


class Run(NamedTuple):
    """A model and its words, the most frequent first."""

    model: Word2Vec
    words: list[str]
    counts: NDArray[np.int64]
    pretokenised: bool


@dataclass
class Progress:
    """How far a training is, in sentences and words over all epochs, and what it has lost."""

    sentences: int = 0
    words: int = 0
    loss: float = 0.0  # since the last line of metrics
    predictions: int = 0
    seconds: float = 0.0


# --- the text ------------------------------------------------------------------


def count_words(
    text: TextStream, minimum_count: int, pretokenised: bool
) -> tuple[list[str], NDArray[np.int64]]:
    """The words seen at least minimum_count times, the most frequent first, and how often."""
    counter: Counter[str] = Counter()
    for block in text.blocks():
        counter.update(split_words(block, pretokenised))
    del counter["\n"]
    frequent = [word for word, count in counter.items() if count >= minimum_count]
    frequent.sort(key=lambda word: (-counter[word], word))
    if len(frequent) < 2:
        raise InputError(
            f"{', '.join(text.files) or 'the text'}: expected at least 2 words that stand "
            f"{minimum_count} times or more, found {len(frequent)}"
        )
    return frequent, np.array([counter[word] for word in frequent], np.int64)


def encode_sentences(
    blocks: Iterable[str], words: Sequence[str], pretokenised: bool
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """The known words' ids, and the starts of the sentences, for each block of lines."""
    ids = {word: id for id, word in enumerate(words)}
    ids["\n"] = -1
    for block in blocks:
        tokens = split_words(block, pretokenised)
        found = np.fromiter((ids.get(token, -2) for token in tokens), np.int32, len(tokens))
        known = found >= 0
        ends = np.cumsum(known)[found == -1]
        total = int(known.sum())
        # A line's end, the end of all, and in a long line every LONGEST words.
        bounds = np.unique(np.concatenate([[0], ends, [total]]))
        lengths = np.diff(bounds)
        if (lengths > LONGEST).any():
            cuts = [np.arange(a, b, LONGEST) for a, b in pairwise(bounds)]
            bounds = np.concatenate([*cuts, [total]])
        if total:
            yield found[known], bounds.astype(np.int64)


class Corpus:
    """A text's sentences as ids, in memory as far as ``memory`` bytes go, then on the disk."""

    def __init__(self, run: Run, text: TextStream, spill: Spill, memory: int):
        self._parts: list[tuple] = []
        self.words, self.sentences, used = 0, 0, 0
        for ids, starts in encode_sentences(text.blocks(), run.words, run.pretokenised):
            used += ids.nbytes + starts.nbytes
            keep = spill.keep if used > memory else np.asarray
            self._parts.append((keep(ids), keep(starts)))
            self.words += len(ids)
            self.sentences += len(starts) - 1

    def stretches(self, skip: int = 0) -> Iterator[tuple[NDArray, NDArray]]:
        """Some sentences at a time: ids, and their starts; all but the first ``skip``."""
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
    """Falls in a straight line with the words that have gone by: one for each sentence."""
    done = (progress.words + starts[:-1]) / total
    return np.maximum(last, first + (last - first) * done)


def train_word2vec(
    run: Run,
    corpus: Corpus,
    settings: dict,
    folder: RunFolder,
    progress: Progress,
    quiet: bool = False,
) -> bool:
    """Train to the end, or to Ctrl-C: then False.  The folder gets metrics and checkpoints.

    settings: epochs, learning_rate and final_rate, seed, threads, checkpoint_seconds.
    """
    total = settings["epochs"] * corpus.words
    threads, seed = settings["threads"], settings["seed"]
    started, saved = time.monotonic() - progress.seconds, time.monotonic()
    logged = progress.words
    with interrupts() as interrupted, ProgressDisplay(progress.words / total, quiet) as display:
        while progress.words < total and not interrupted.is_set():
            for words, starts in corpus.stretches(progress.sentences % corpus.sentences):
                rates = learning_rates(
                    progress, starts, total, settings["learning_rate"], settings["final_rate"]
                )
                loss, predictions = run.model.learn(
                    words, starts, rates, seed, progress.sentences, threads
                )
                if not np.isfinite(loss):
                    raise InputError(
                        f"the training diverged after {progress.words:,} words at learning rate "
                        f"{rates[0]:.4g}; {folder.path} keeps the last good checkpoint: "
                        "start anew with a lower learning rate"
                    )
                progress.sentences += len(rates)
                progress.words += len(words)
                progress.loss += loss
                progress.predictions += predictions
                progress.seconds = time.monotonic() - started
                display.update(
                    progress.words / total,
                    progress.words,
                    loss / max(1, predictions),
                    progress.words,
                    progress.seconds,
                )
                if (progress.words - logged) * 100 >= total or progress.words == total:
                    logged = progress.words
                    _log(folder, progress, rates[-1])
                if time.monotonic() - saved >= settings["checkpoint_seconds"]:
                    save_progress(folder, run.model, progress)
                    saved = time.monotonic()
                if interrupted.is_set():
                    break
    save_progress(folder, run.model, progress)
    folder.save_model(run.model.params, {"words": progress.words})
    return progress.words >= total


def _log(folder: RunFolder, progress: Progress, rate: float) -> None:
    folder.append_metrics(
        {
            "step": progress.words,
            "seconds": round(progress.seconds, 3),
            "loss": progress.loss / max(1, progress.predictions),
            "learning_rate": float(rate),
        }
    )
    progress.loss, progress.predictions = 0.0, 0


def mean_loss(run: Run, text: TextStream) -> tuple[float, int, int]:
    """The loss of a prediction in nats, the number of predictions and of known words."""
    total, predictions, words, sentences = 0.0, 0, 0, 0
    for ids, starts in encode_sentences(text.blocks(), run.words, run.pretokenised):
        loss, n = run.model.learn(ids, starts, np.zeros(len(starts) - 1), 0, sentences)
        total, predictions = total + loss, predictions + n
        words, sentences = words + len(ids), sentences + len(starts) - 1
    if predictions == 0:
        raise InputError("the text has no two known words in one line: there is nothing to predict")
    return total / predictions, predictions, words


# --- the folder ------------------------------------------------------------------


def save_progress(folder: RunFolder, model: Word2Vec, progress: Progress) -> None:
    """Write all that resuming needs."""
    folder.save_resume(model.params, {"progress": asdict(progress)})


def restore_progress(folder: RunFolder, model: Word2Vec) -> Progress:
    """Read what `save_progress` wrote."""
    arrays, values = folder.load_resume()
    name = str(folder.path / "resume.safetensors")
    copy_arrays(arrays, model.params, name)
    try:
        return Progress(**values["progress"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{name}: something is missing from it: {error}") from None


def save_vocabulary(folder: RunFolder, run: Run) -> None:
    """Write the words and how often each stood."""
    values = {
        "words": run.words,
        "counts": run.counts.tolist(),
        "pretokenised": run.pretokenised,
    }
    folder.save_json("vocabulary.json", values)


def load_word2vec(folder: RunFolder, weights: bool = True) -> Run:
    """The run in a folder; without weights, only its words and sizes."""
    stored, values = folder.load_json("config.json"), folder.load_json("vocabulary.json")
    try:
        counts = np.array(values["counts"], np.int64)
        model = Word2Vec(Word2VecConfig(**stored["model"]), counts)
        run = Run(model, list(map(str, values["words"])), counts, bool(values["pretokenised"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{folder.path}: its configuration is damaged: {error}") from None
    if len(run.words) != len(counts):
        raise InputError(f"{folder.path}: its configuration is damaged: its sizes do not agree")
    if weights:
        folder.load_model(model.params)
    return run
