"""Word vectors: skip-gram or CBOW (2013)."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from minillm.data.corpora import TextStream
from minillm.errors import InputError
from minillm.formats.format import Contents
from minillm.models.vectors import Vectors
from minillm.models.word2vec import Word2Vec, Word2VecConfig
from minillm.runs.config import save_config, save_vocabularies
from minillm.runs.kind import EvalData, Given, Kind, Results, Training, Vocabularies, Weights
from minillm.runs.kinds.texts import evaluation_blocks, name_of
from minillm.runs.load import open_vocabularies, run_of
from minillm.runs.run import Run
from minillm.runs.settings import (
    EvalOptions,
    FilesSettings,
    TrainingSettings,
    config_from,
    of_text,
    settings,
    with_default,
)
from minillm.training.options import of_run
from minillm.training.progress import minutes_and_seconds
from minillm.training.word2vec import (
    Corpus,
    Progress,
    WordCounts,
    count_words,
    mean_loss,
    restore_progress,
    save_progress,
    train_word2vec,
)

RATES = {"skip-gram": 0.025, "cbow": 0.05}  # initial learning rates


Word2VecSettings = settings(
    FilesSettings,
    config=Word2VecConfig,
    sizes="algorithm dimension window negative subsample",
    algorithm={
        "help": "skip-gram: a word predicts its neighbours; cbow: they predict the word",
        "choices": ("skip-gram", "cbow"),
    },
    dimension={"help": "width of a vector", "metavar": "D", "most": 65536},
    window={"help": "neighbours are at most 1 to N words away, at random", "most": 1000},
    negative={
        "help": "random words for each neighbour; 0: hierarchical softmax, by a Huffman tree",
        "metavar": "N",
        "least": 0,
        "most": 1000,
    },
    subsample={
        "help": "skip some occurrences of words that are a larger fraction of the text; 0: none",
        "metavar": "F",
        "least": 0,
        "below": 1,
    },
    minimum_count=(int, of_text(5, "leave rarer words out", "N", least=1, most=10**12)),
    epochs=(int, of_run(20, "number of times to read the text", "N", least=1, most=10**6)),
    threads=(
        int,
        of_run(1, "threads without locks; of 2 or more, results vary", "N", least=1, most=1024),
    ),
    seed=(int, with_default(TrainingSettings, "seed", 0, help="seed of vectors and samples")),
    checkpoint_seconds=(float, with_default(TrainingSettings, "checkpoint_seconds", 30.0)),
    learning_rate=(
        float | None,
        of_run(None, "rate, which falls linearly", "R", above=0, default_help="0.025, cbow 0.05"),
    ),
)


class VectorsRun(Run):
    """A run of word vectors."""

    tokenizer: WordCounts

    @property
    def vectors(self) -> Vectors:
        """The words and their vectors, with similar words, analogies and a map.

        >>> run = minillm.load("runs/w")  # doctest: +SKIP
        >>> run.vectors["class"], run.vectors.most_similar("class", topn=3)  # doctest: +SKIP
        """
        return Vectors(self.tokenizer.words, self.model.params["vectors"])

    def similar(self, word: str, topn: int = 10) -> list[tuple[str, float]]:
        """The words most similar to a word, with their cosines."""
        return self.vectors.most_similar(word, topn=topn)

    def analogy(self, a: str, b: str, c: str, topn: int = 10) -> list[tuple[str, float]]:
        """Words that are to c as b is to a."""
        return self.vectors.analogy(a, b, c, topn)

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """The loss of a prediction on a text, by default the one it was trained on."""
        name, blocks = evaluation_blocks(self, data, held_out=False)
        loss, predictions, known = mean_loss(self.model, self.tokenizer, blocks)
        return {
            "text": name,
            "known_words": known,
            "predictions": predictions,
            "nats_per_prediction": loss,
        }


def complete(training: Training, given: Given) -> Any:
    """The settings with the learning rate that suits the algorithm."""
    settings = training.settings
    return replace(settings, learning_rate=settings.learning_rate or RATES[settings.algorithm])


def build(config: Any, vocabularies: Vocabularies, weights: Weights, _: type) -> Word2Vec:
    """A model with these vectors, and tables from the words' counts."""
    _check_shapes(config, {name: array.shape for name, array in weights.items()})
    model = Word2Vec(config, vocabularies["tokenizer"].counts)
    for name, array in model.params.items():
        array[...] = weights[name]
    return model


def train(training: Training) -> bool:
    """Count the words, train, save, and report the result."""
    settings, folder, report = training.settings, training.folder, training.report
    text = TextStream(training.data["files"])
    training.record(text.sha256, name_of(training.data))
    words, progress = _begin(training, text)
    with tempfile.TemporaryFile() as file:
        corpus = Corpus(words, text, file)
        if progress.words >= settings.epochs * corpus.words:
            raise InputError(
                f"{folder.path}: the run is complete after {progress.words:,} words, "
                f"{minutes_and_seconds(progress.seconds)}: raise epochs to continue"
            )
        if not training.stored:
            folder.begin()
            save_vocabularies(folder, training.kind, {"tokenizer": words})
            save_progress(folder, training.model, progress)
        save_config(folder, training.config("prediction"))
        finished = train_word2vec(
            training.model, corpus, settings, folder, progress, training.quiet
        )
    seconds = max(progress.seconds, 1e-9)
    report(
        f"{'trained' if finished else 'stopped'} after {progress.words:,} words in "
        f"{minutes_and_seconds(seconds)}, {progress.words / seconds:,.0f} words/s"
    )
    if not finished:
        report(f"to continue: {training.resume_command}")
        return False
    loss = folder.read_metrics()[-1]["loss"]  # not 0, unless nothing was predicted
    result = f"loss {loss:.4f} nats per prediction" if loss else "nothing was predicted"
    report(f"{len(words):,} vectors; {result}")
    report(f"saved in {folder.path}")
    return True


def _begin(training: Training, text: TextStream) -> tuple[WordCounts, Progress]:
    """Make a fresh model, or the one to resume; its words and its progress."""
    settings, stored = training.settings, training.stored
    if stored:
        _check_shapes(stored.config, training.folder.resume_shapes())
        words = open_vocabularies(training.folder, stored)["tokenizer"]
        training.model = Word2Vec(stored.config, words.counts)
        return words, restore_progress(training.folder, training.model)
    words = count_words(text, settings.minimum_count, settings.pretokenised, training.report)
    config = config_from(settings, Word2VecConfig, vocabulary=len(words))
    training.model = Word2Vec(config, words.counts, np.random.default_rng(settings.seed))
    return words, Progress()


def imported(kind: Kind, contents: Contents, file: str) -> Run:
    """See :class:`minillm.runs.kind.Kind`."""
    counts = contents.tokenizer
    words = WordCounts(list(counts), np.array(list(counts.values())), True)
    return run_of(kind, replace(contents, tokenizer=words), file, unit="prediction")


def _check_shapes(config: Word2VecConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """InputError unless stored vectors have the shapes that the config says."""
    rows = {"vectors": config.vocabulary, "outputs": config.vocabulary - (config.negative == 0)}
    for name, count in rows.items():
        if shapes.get(name) != (count, config.dimension):
            raise InputError(
                f"expected shape {(count, config.dimension)}, found {shapes.get(name)}", name
            )


WORD2VEC = Kind(
    name="word2vec",
    description="""\
Learn a vector for each word from the words around it: words with similar uses get similar vectors.
Each line of the text is a sentence.""",
    examples="""\
  minillm train word2vec --out runs/vectors
        on the Python language reference, which ships with every CPython
  minillm train word2vec text8 --pretokenised --algorithm cbow --out runs/cbow
  minillm train word2vec --out runs/vectors --resume --epochs 60
        continue to 60 epochs in all, at the rates of a run of 60 epochs

then: minillm similar DIR WORD, minillm analogy DIR A B C, minillm plot words DIR,
      minillm export DIR vectors.txt""",
    run=VectorsRun,
    model=Word2Vec,
    config=Word2VecConfig,
    complete=complete,
    train=train,
    build=build,
    imported=imported,
    open_vocabulary=WordCounts.from_dict,
    takes=("sentences", "text"),
    settings=Word2VecSettings,
)
