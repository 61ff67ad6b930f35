"""``word2vec``: a vector for each word."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from minillm.errors import InputError
from minillm.mpi import ranks
from minillm.runs.kind import Evaluation, Job, Kind, Results, Shapes
from minillm.runs.settings import (
    FilesSettings,
    Size,
    TrainingSettings,
    option,
    values_of,
    with_default,
)

if TYPE_CHECKING:
    from minillm.models.vectors import Vectors
    from minillm.models.word2vec import Word2Vec
    from minillm.runs.folder import RunFolder
    from minillm.runs.run import Run
    from minillm.training.word2vec import Corpus, Progress, WordCounts


@dataclass(frozen=True)
class Settings(FilesSettings):
    """The settings of word2vec."""

    algorithm: str = option(
        "skip-gram",
        "skip-gram: a word predicts its neighbours; cbow: they predict the word",
        choices=("skip-gram", "cbow"),
    )
    dimension: int = option(100, "width of a vector", "D", least=1, most=65536)
    window: int = option(
        5,
        "neighbours are at most N words away; for each word, the distance is drawn from 1 to N",
        "N",
        least=1,
        most=1000,
    )
    negative: int = option(
        5,
        "random words for each true neighbour, which the model learns to tell apart",
        "N",
        least=1,
        most=1000,
        excludes=("hierarchical_softmax",),
    )
    hierarchical_softmax: bool = option(
        False,
        "predict along the paths of a Huffman tree, without random words",
        excludes=("negative",),
    )
    cbow_sum: bool = option(False, "cbow adds up the vectors of its window; it does not average")
    subsample: float = option(
        1e-3,
        "skip some occurrences of words that are a larger fraction of the text; 0: none",
        "F",
        least=0,
        below=1,
        group="the text",
    )
    minimum_count: int = option(
        5, "words seen less often are left out", "N", least=1, most=10**12, group="the text"
    )
    memory: Size = option(  # noqa: RUF009
        Size(1 << 30),
        "memory for the ids of the text; what is beyond is read from the disk",
        "SIZE",
        least=1,
        most=1 << 60,
        group="the text",
        default_help="1G",
    )
    epochs: int = option(
        20,
        "how often the text is read",
        "N",
        least=1,
        most=10**6,
        group="the run",
        changeable=True,
    )
    average_every: int = option(
        50_000,
        "of several ranks, each learns from N words between two averages of their vectors",
        "N",
        least=1,
        most=10**8,
        group="the run",
    )
    threads: int = option(
        1,
        "update the same weights without locks; with 2 or more, a seed does not fix the result",
        "N",
        least=1,
        most=1024,
        group="the run",
        changeable=True,
    )
    seed: int = with_default(
        TrainingSettings, "seed", 0, help="seed of the first vectors and of the samples"
    )
    checkpoint_seconds: float = with_default(TrainingSettings, "checkpoint_seconds", 30.0)
    learning_rate: float | None = option(
        None,
        "learning rate at the start; it falls linearly; n ranks start with n times that, at most 8",
        "R",
        above=0,
        group="the run",
        changeable=True,
        default_help="0.025, cbow 0.05",
    )
    final_rate: float = option(1e-4, "learning rate at the end", "R", above=0, group="the run")


class Word2VecKind(Kind):
    """A vector for each word, from the words around it."""

    name = "word2vec"
    year = 2013
    help = "word vectors: skip-gram or CBOW"
    description = """\
Learn a vector for each word from the words around it: words that are used alike get similar
vectors.  Each line of the text is a sentence.  Files of any size are read as streams."""
    examples = """\
  minillm train word2vec --out runs/vectors
        on the Python language reference, which ships with every CPython
  minillm train word2vec shakespeare.txt --out runs/bard --epochs 40 --threads 2
  minillm train word2vec text8 --pretokenised --algorithm cbow --out runs/cbow
  mpiexec -n 4 minillm train word2vec big.txt --out runs/big
        four processes, on one machine or on several, each with a quarter of the sentences
  minillm train word2vec --out runs/bard --resume
        go on after Ctrl-C; with one thread, bit for bit as if it had not stopped
  minillm train word2vec --out runs/bard --resume --epochs 60
        go on, to 60 epochs in all: the learning rate goes back up to where it would be by then,
        so that the vectors are not those of a run that had 60 epochs from the start

then: minillm similar DIR WORD, minillm analogy DIR A B C, minillm plot words DIR,
      minillm export DIR vectors.txt"""
    settings = Settings
    exports: ClassVar[dict[str, str]] = {"word2vec": "vectors.txt"}

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.word2vec import Word2Vec, Word2VecConfig

        return Word2Vec, Word2VecConfig

    def open_vocabulary(self, values: dict[str, Any]) -> "WordCounts":
        """The words and how often each was seen."""
        from minillm.training.word2vec import WordCounts

        return WordCounts.from_dict(values)

    def build(self, config: Any, vocabularies: dict[str, Any], shapes: Shapes) -> "Word2Vec":
        """A model with the tables of the words' counts; its vectors are read afterwards."""
        expected = (config.vocabulary, config.dimension)
        if shapes.get("vectors") != expected:
            raise ValueError(f"expected vectors {expected}, found {shapes.get('vectors')}")
        Model, _ = self.types()
        return Model(config, vocabularies["tokenizer"].counts)

    def train(self, job: Job) -> bool:
        """Counts the words, trains, saves, and reports the result."""
        from minillm.data.streams import Spill, TextStream
        from minillm.training.progress import minutes_and_seconds
        from minillm.training.word2vec import Corpus, train_word2vec

        settings, folder, me = job.settings, job.folder, ranks()
        if settings.learning_rate is None:
            rate = 0.025 if settings.algorithm == "skip-gram" else 0.05
            settings = replace(settings, learning_rate=rate)
        files = job.data["files"]
        text = TextStream(files)
        if job.stored and text.sha256 != job.data.get("sha256"):
            raise InputError(f"{', '.join(files)}: the text has changed since the run was started")
        model, words, progress = self._begin(job, settings, text)
        with Spill() as spill:
            corpus = Corpus(words, text, spill, settings.memory, me.rank, me.size)
            if job.stored:
                _check_resumed(job, settings, corpus, progress)
            me.wait()  # all have read the folder, which rank 0 writes from here on
            data = job.data | {"sha256": text.sha256}
            if not job.stored:
                save_vocabulary(folder, words, model, progress)
            save_config(folder, model, values_of(settings, data=False), data)
            finished = train_word2vec(model, corpus, settings, folder, progress, job.quiet)
        me.wait()  # the run is on the disk
        seconds = max(progress.seconds, 1e-9)
        job.report(
            f"{'trained' if finished else 'stopped'} after {progress.words:,} words in "
            f"{minutes_and_seconds(seconds)}, {progress.words / seconds:,.0f} words/s"
        )
        if not finished:
            job.report(f"to go on: minillm train word2vec --out {folder.path} --resume")
            return False
        loss = folder.read_metrics()[-1]["loss"]
        job.report(f"{len(words):,} vectors; loss {loss:.4f} nats per prediction")
        job.report(f"saved in {folder.path}")
        return True

    def _begin(self, job: Job, settings: Any, text: Any) -> "tuple[Word2Vec, WordCounts, Progress]":
        """A fresh model, or the one to resume; its words; its progress."""
        import numpy as np

        from minillm.runs.run import build
        from minillm.training.word2vec import Progress, count_words, restore_progress

        if job.stored:
            model, vocabularies = build(
                self, job.folder, job.stored["model"], job.folder.resume_shapes
            )
            words = vocabularies["tokenizer"]
            return model, words, restore_progress(job.folder, model)
        words = count_words(text, settings.minimum_count, settings.pretokenised)
        config = self.new_config(
            vocabulary=len(words),
            dimension=settings.dimension,
            algorithm=settings.algorithm,
            mean=not settings.cbow_sum,
            window=settings.window,
            negative=0 if settings.hierarchical_softmax else settings.negative,
            subsample=settings.subsample,
        )
        Model, _ = self.types()
        model = Model(config, words.counts, np.random.default_rng(settings.seed))
        return model, words, Progress()

    def vectors(self, run: "Run") -> "Vectors":
        """See :attr:`minillm.runs.run.Run.vectors`."""
        from minillm.models.vectors import Vectors

        return Vectors(run.tokenizer.words, run.model.params["vectors"])  # type: ignore[attr-defined]

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """The loss of a prediction on a text, by default the one that it was trained on."""
        from minillm.runs.kinds.ngram import evaluation_stream
        from minillm.training.word2vec import mean_loss

        name, text, _ = evaluation_stream(run, asked, held_out=False)
        loss, predictions, words = mean_loss(run.model, run.tokenizer, text)  # type: ignore[arg-type]
        return {
            "text": name,
            "known_words": words,
            "predictions": predictions,
            "nats_per_prediction": loss,
        }

    def export(self, run: "Run", file: str | Path, binary: bool = False) -> None:
        """Word vectors in one of word2vec's formats, which gensim reads."""
        from minillm.formats.word2vec import write_vectors

        vectors = self.vectors(run)
        write_vectors(file, vectors.words, vectors.vectors, binary)

    def imports(self, file: str, head: bytes) -> bool:
        """Whether a file is one to import as this kind: a line with two numbers comes first."""
        fields = head.split(b"\n")[0].split()
        return len(fields) == 2 and all(field.isdigit() for field in fields)

    def import_file(self, file: str, folder: "RunFolder") -> str:
        """Makes a run of a file of word vectors; returns a line that describes it."""
        import numpy as np

        from minillm.data.registry import absolute
        from minillm.formats.word2vec import read_vectors
        from minillm.training.word2vec import WordCounts

        words, vectors = read_vectors(file)
        if len(words) < 2:
            raise InputError(f"{file}: expected 2 words or more, found {len(words)}")
        counts = np.arange(len(words), 0, -1)  # unknown: but the most frequent come first
        Model, _ = self.types()
        model = Model(self.new_config(vocabulary=len(words), dimension=vectors.shape[1]), counts)
        model.params["vectors"][:] = vectors
        save_vocabulary(folder, WordCounts(words, counts, True), model, None)
        folder.save_model(model.params, {})
        save_config(folder, model, {}, {"files": [], "imported": absolute(file)})
        return f"{len(words):,} vectors of {vectors.shape[1]} numbers"


def _check_resumed(job: Job, settings: Any, corpus: "Corpus", progress: "Progress") -> None:
    """InputError if there is nothing left to do; says so where the schedule is another."""
    import numpy as np

    from minillm.training.progress import minutes_and_seconds
    from minillm.training.word2vec import learning_rates, starting_rate

    if progress.words >= settings.epochs * corpus.words:
        raise InputError(
            f"{job.folder.path}: the run is complete after {progress.words:,} words, "
            f"{minutes_and_seconds(progress.seconds)}: raise --epochs to go on"
        )
    assert job.stored is not None
    here = np.zeros(2, np.int64)
    before, now = (
        learning_rates(
            progress.words,
            here,
            run.epochs * corpus.words,
            starting_rate(run.learning_rate),
            run.final_rate,
        )[0]
        for run in (job.stored["training"], settings)
    )
    if now > 1.01 * before:
        job.report(
            f"the schedule has changed: the learning rate goes from {before:.2g} up to {now:.2g}"
        )


def save_vocabulary(
    folder: "RunFolder", words: "WordCounts", model: "Word2Vec", progress: "Progress | None"
) -> None:
    """Makes the folder, with the words and, for a run that is trained, a checkpoint."""
    from minillm.training.word2vec import save_progress

    folder.begin()
    folder.save_json("vocabulary.json", words.to_dict())
    if progress is not None:
        save_progress(folder, model, progress)


def save_config(
    folder: "RunFolder", model: "Word2Vec", settings: dict[str, Any], data: dict[str, Any]
) -> None:
    """Writes config.json, which comes last: a folder with it is complete."""
    config = {"kind": "word2vec", "model": asdict(model.config), "training": settings, "data": data}
    config["unit"] = "prediction"
    folder.save_json("config.json", config)
