"""Word vectors: skip-gram or CBOW (2013)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from minillm.data.registry import absolute
from minillm.data.streams import Spill, TextStream
from minillm.errors import InputError
from minillm.formats.format import Contents
from minillm.formats.word2vec import write_vectors
from minillm.models.vectors import Vectors
from minillm.models.word2vec import Word2Vec, Word2VecConfig
from minillm.runs.config import save_config, save_run, save_vocabularies
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Given, Job, Kind, Results, Stored, Vocabularies, Weights
from minillm.runs.kinds._text_data import evaluation_blocks, name_of
from minillm.runs.load import open_vocabularies
from minillm.runs.run import Run
from minillm.runs.settings import (
    Evaluation,
    Facts,
    FilesSettings,
    TrainingSettings,
    config_from,
    of_text,
    size,
    with_default,
)
from minillm.training.options import of_run
from minillm.training.progress import minutes_and_seconds
from minillm.training.word2vec import (
    Progress,
    mean_loss,
    restore_progress,
    save_progress,
    train_word2vec,
)
from minillm.training.word2vec_corpus import Corpus, WordCounts, count_words

RATES = {"skip-gram": 0.025, "cbow": 0.05}  # initial learning rates


@dataclass(frozen=True)
class Word2VecSettings(FilesSettings):
    """The settings of word2vec."""

    algorithm: str = size(
        Word2VecConfig,
        "algorithm",
        "skip-gram: a word predicts its neighbours; cbow: they predict the word",
        choices=("skip-gram", "cbow"),
    )
    dimension: int = size(Word2VecConfig, "dimension", "width of a vector", "D", most=65536)
    window: int = size(
        Word2VecConfig,
        "window",
        "neighbours are at most N words away; the distance is drawn from 1 to N for each word",
        "N",
        most=1000,
    )
    negative: int = size(
        Word2VecConfig,
        "negative",
        "negative samples: random words for each true neighbour; 0: hierarchical softmax, along "
        "the paths of a Huffman tree",
        "N",
        least=0,
        most=1000,
    )
    subsample: float = size(
        Word2VecConfig,
        "subsample",
        "skip some occurrences of words that are a larger fraction of the text; 0: none",
        "F",
        least=0,
        below=1,
        group="the text",
    )
    minimum_count: int = of_text(5, "words seen less often are left out", "N", least=1, most=10**12)
    epochs: int = of_run(20, "number of times to read the text", "N", least=1, most=10**6)
    threads: int = of_run(
        1,
        "threads that update the same weights without locks; with 2 or more, results vary",
        "N",
        least=1,
        most=1024,
    )
    seed: int = with_default(
        TrainingSettings, "seed", 0, help="seed of the first vectors and of the samples"
    )
    checkpoint_seconds: float = with_default(TrainingSettings, "checkpoint_seconds", 30.0)
    learning_rate: float | None = of_run(
        None,
        "initial learning rate, which falls linearly",
        "R",
        above=0,
        default_help="0.025, cbow 0.05",
    )
    final_rate: float = of_run(
        1e-4, "final learning rate", "R", above=0, changeable=False, rare=True
    )


class RunVectors(Vectors):
    """The vectors of a run, which can be written to a file."""

    def save_word2vec_format(self, path: str | Path) -> None:
        """Write the words and their vectors as text in word2vec's format, which gensim reads."""
        write_vectors(path, self.words, self.vectors)


class Word2VecKind(Kind):
    """A vector for each word, from the words around it."""

    name = "word2vec"
    description = """\
Learn a vector for each word from the words around it: words with similar uses get similar vectors.
Each line of the text is a sentence.  Files of any size are read as streams."""
    examples = """\
  minillm train word2vec --out runs/vectors
        on the Python language reference, which ships with every CPython
  minillm train word2vec shakespeare.txt --out runs/bard --epochs 40 --threads 2
  minillm train word2vec text8 --pretokenised --algorithm cbow --out runs/cbow
  minillm train word2vec --out runs/bard --resume
        continue after Ctrl-C; with one thread, with the same bits as without the interruption
  minillm train word2vec --out runs/bard --resume --epochs 60
        continue to 60 epochs in all: the learning rate goes back up to where it would be by then,
        so the vectors differ from a run of 60 epochs from the start

then: minillm similar DIR WORD, minillm analogy DIR A B C, minillm plot words DIR,
      minillm export DIR vectors.txt"""
    model = Word2Vec
    config = Word2VecConfig
    settings = Word2VecSettings
    takes: ClassVar[tuple[str, ...]] = ("sentences", "text")
    open_vocabulary = staticmethod(WordCounts.from_dict)  # type: ignore[assignment]

    def complete(self, settings: Any, given: Mapping[str, object], job: Job) -> Any:
        """The settings with the learning rate that suits the algorithm."""
        rate = settings.learning_rate or RATES[settings.algorithm]
        return replace(settings, learning_rate=rate)

    def build(self, config: Any, vocabularies: Vocabularies, weights: Weights) -> Word2Vec:
        """A model with these vectors, and tables from the words' counts."""
        _check_shapes(config, {name: array.shape for name, array in weights.items()})
        model = Word2Vec(config, vocabularies["tokenizer"].counts)
        for name, array in model.params.items():
            array[...] = weights[name]
        return model

    def train(self, job: Job) -> bool:
        """Count the words, train, save, and report the result."""
        settings, folder = job.settings, job.folder
        text = TextStream(job.data["files"])
        job.record(text.sha256, name_of(job.data))
        model, words, progress = self._begin(job, settings, text)
        with Spill() as spill:
            corpus = Corpus(words, text, spill)
            if progress.words >= settings.epochs * corpus.words:
                raise InputError(
                    f"{folder.path}: the run is complete after {progress.words:,} words, "
                    f"{minutes_and_seconds(progress.seconds)}: raise epochs to continue"
                )
            if not job.stored:
                folder.begin()
                save_vocabularies(folder, self, {"tokenizer": words})
                save_progress(folder, model, progress)
            data = job.data_with(Facts())
            save_config(folder, Stored(self, model.config, settings, data, "prediction"))
            finished = train_word2vec(model, corpus, settings, folder, progress, job.quiet)
        seconds = max(progress.seconds, 1e-9)
        job.report(
            f"{'trained' if finished else 'stopped'} after {progress.words:,} words in "
            f"{minutes_and_seconds(seconds)}, {progress.words / seconds:,.0f} words/s"
        )
        if not finished:
            job.report(f"to continue: {job.resume_command}")
            return False
        loss, result = folder.read_metrics()[-1]["loss"], "nothing was predicted"
        if loss:  # a prediction always has a loss
            result = f"loss {loss:.4f} nats per prediction"
        job.report(f"{len(words):,} vectors; {result}")
        job.report(f"saved in {folder.path}")
        return True

    def _begin(
        self, job: Job, settings: Word2VecSettings, text: TextStream
    ) -> tuple[Word2Vec, WordCounts, Progress]:
        """A fresh model, or the one to resume; its words; its progress."""
        if job.stored:
            config, shapes = job.stored.config, job.folder.resume_shapes()
            _check_shapes(config, shapes)
            words = open_vocabularies(job.folder, job.stored)["tokenizer"]
            model = Word2Vec(config, words.counts)
            return model, words, restore_progress(job.folder, model)
        words = count_words(text, settings.minimum_count, settings.pretokenised, job.report)
        config = config_from(settings, Word2VecConfig, vocabulary=len(words))
        model = Word2Vec(config, words.counts, np.random.default_rng(settings.seed))
        return model, words, Progress()

    def vectors(self, run: Run) -> RunVectors:
        """See :attr:`minillm.runs.run.Run.vectors`."""
        words = cast(WordCounts, run.tokenizer)
        return RunVectors(words.words, run.model.params["vectors"])

    def evaluate(self, run: Run, given: Given, options: Evaluation) -> Results:
        """The loss of a prediction on a text, by default the one it was trained on."""
        name, blocks = evaluation_blocks(run, given, options.part, held_out=False)
        words = cast(WordCounts, run.tokenizer)
        loss, predictions, known = mean_loss(run.model, words, blocks)
        return {
            "text": name,
            "known_words": known,
            "predictions": predictions,
            "nats_per_prediction": loss,
        }

    def import_model(self, contents: Contents, file: str, folder: RunFolder) -> str:
        """See :class:`minillm.runs.kind.Kind`."""
        model, counts = contents.model, contents.tokenizer
        data = {"files": [], "imported": absolute(file)}
        stored = Stored(self, model.config, Word2VecSettings(), data, "prediction")
        words = WordCounts(list(counts), np.array(list(counts.values())), True)
        save_run(folder, stored, model.params, {"tokenizer": words})
        return f"{len(words):,} vectors of {model.config.dimension} numbers"


def _check_shapes(config: Word2VecConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """InputError unless stored vectors have the shapes that the config says."""
    rows = {"vectors": config.vocabulary, "outputs": config.vocabulary - (config.negative == 0)}
    for name, count in rows.items():
        if shapes.get(name) != (count, config.dimension):
            raise InputError(
                f"{name}: expected shape {(count, config.dimension)}, found {shapes.get(name)}"
            )
