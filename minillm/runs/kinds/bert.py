"""``bert``: a Transformer that fills gaps."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from minillm.errors import InputError, short
from minillm.runs.adaptation import with_replay
from minillm.runs.kind import GENTLY, Evaluation, Job, Kind, Parts, Results
from minillm.runs.settings import (
    AdaptationSettings,
    Facts,
    FilesSettings,
    TokenizerSettings,
    TrainingSettings,
    VocabularySettings,
    make,
    option,
    with_default,
)
from minillm.runs.shards import evaluation_text_or_shards, open_text_or_shards

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minillm.data.masking import MaskedBatch, Masking
    from minillm.data.windows import Ids
    from minillm.formats.sentences import Sentences
    from minillm.runs.folder import RunFolder
    from minillm.runs.run import Run
    from minillm.text import Vocabulary
    from minillm.training import Summary

COUNTED = 10_000_000  # tokens of the training text whose frequencies are a baseline
ROWS = 32  # passages that are read together where nothing is trained
TOKENS = 1024  # of texts that are read together: so many stay in the cache
PADDING = 40  # tokens that take as long as to begin a batch
MASKS = 0  # seed of what is hidden in validation
SHOWN = 48  # tokens of a sample
TINY = 1e-12  # a shorter vector does not get the length 1

SIZES = ("context", "layers", "heads", "width", "dropout", "next_sentence")
POOLINGS = ("mean", "first", "max")


@dataclass(frozen=True)
class Settings(TokenizerSettings, TrainingSettings, AdaptationSettings):
    """The settings of a BERT."""

    unit: ClassVar[str] = "wordpiece"
    split_into: ClassVar[str] = "wordpiece"
    minimum_count: ClassVar[int] = 1

    files: tuple[str, ...] = with_default(
        FilesSettings,
        "files",
        (),
        help="UTF-8 text, any number of files, - for standard input; or one folder that `minillm "
        "tokenize` made; none: the built-in corpus",
    )
    tokenizer: str | None = with_default(
        TokenizerSettings,
        "tokenizer",
        None,
        help="the pieces of a tokenizer's folder or file, or of another run: they are not learned",
    )
    vocabulary: int = with_default(
        VocabularySettings, "vocabulary", 4000, help="learn N tokens, pieces of words", least=16
    )
    layers: int = option(4, "number of blocks", "L", least=1, most=1000)
    heads: int = option(4, "heads of attention in each block", "N", least=1, most=65536)
    width: int = option(128, "width of a token's vector", "D", least=1, most=65536)
    context: int = option(
        64,
        "how many tokens the model sees, and is trained on at once, [CLS] and [SEP] among them",
        "C",
        least=8,
        most=1 << 20,
    )
    dropout: float = option(
        0.0, "fraction of activations zeroed in training", "RATE", least=0, below=1
    )
    whole_words: bool = option(
        False, "hide all pieces of a word or none: harder, for none gives another away"
    )
    next_sentence: bool = option(
        False, "half of the passages have two parts from different places: learn to tell, too"
    )
    validation_tokens: int = option(
        50_000,
        "measure the validation loss on N of the tokens that are held out (eval: on all)",
        "N",
        least=1,
        most=10**8,
        group="the run",
    )
    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TrainingSettings, "learning_rate", None, default_help="0.15 / width; with --init 0.3 of it"
    )
    warmup: float = with_default(TrainingSettings, "warmup", 0.1)
    batch: int = with_default(TrainingSettings, "batch", 32)
    beta2: float = with_default(TrainingSettings, "beta2", 0.99)


@dataclass(frozen=True, kw_only=True)
class SentenceFacts(Facts):
    """Those of a model that was imported: how it makes a vector of a text."""

    pooling: str | None = option(None, "of a sentence encoder", choices=POOLINGS)
    normalised: bool = option(False, "its vectors have the length 1")
    longest: int | None = option(None, "how many tokens are read, [CLS] and [SEP] too", least=3)


class BERTKind(Kind):
    """A stack of Transformer blocks over pieces of words, which sees the whole text."""

    name = "bert"
    year = 2018
    help = "a Transformer that fills gaps, from both sides: BERT"
    description = """\
Train a BERT: in each passage of a text some tokens are hidden, and it learns to tell from all
others what they were.  What it makes of a text is then useful for other things: to compare
sentences, to classify them.  Tokens are pieces of words.  The last tenth of the text is held out,
to measure the model on text that it has not seen."""
    examples = """\
  minillm train bert --out runs/bert --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train bert my_text.txt --out runs/mine --vocabulary 8000 --width 256
        on a text of your own
  minillm train bert python-source --out runs/source --whole-words --minutes 20
        on the source of Python's standard library
  minillm train bert my_text.txt --init runs/bert --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm fill DIR "the [MASK] statement", minillm embed DIR < lines.txt,
      minillm similar DIR "a sentence" --among lines.txt, minillm eval DIR"""
    settings = Settings
    facts = SentenceFacts
    exports: ClassVar[dict[str, str]] = {"huggingface": "huggingface", "peft": "peft"}
    model_type = "bert"

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.bert import BERT, BERTConfig

        return BERT, BERTConfig

    def open_vocabulary(self, values: dict[str, Any]) -> Any:
        """The pieces, with the special tokens that frame a text and hide its words."""
        tokenizer = super().open_vocabulary(values)
        if not frames(tokenizer):
            raise ValueError("expected a vocabulary with [CLS], [SEP] and [MASK]")
        return tokenizer

    def train(self, job: Job) -> bool:
        """As any kind; the best learning rate falls with the width (Yang et al. 2022)."""
        settings = job.settings
        if settings.learning_rate is None:
            gently = job.data.get("init") and not settings.lora_rank
            rate = (GENTLY if gently else 1) * 0.15 / settings.width
            job = replace(job, settings=replace(settings, learning_rate=rate))
        return super().train(job)

    def prepare(
        self, settings: Settings, data: dict[str, Any], rng: "np.random.Generator"
    ) -> Parts:
        """Holds out the last tenth of the text; the pieces are those of the rest."""
        import numpy as np

        from minillm.data.passages import Passages
        from minillm.metrics import frequency_loss
        from minillm.runs.initial import initial_run
        from minillm.training.context import stretches
        from minillm.training.masked import MaskedTask

        sizes = {name: getattr(settings, name) for name in SIZES}
        sizes["pooler"] = settings.next_sentence
        if initial := initial_run(data):
            theirs = initial.model.config
            sizes |= {"inner": theirs.inner, "segments": theirs.segments}
            sizes["pooler"] = settings.next_sentence or theirs.pooler
        self.new_config(vocabulary=2, **sizes)  # before the data
        tokenizer, training, validation = open_text_or_shards(settings, data)
        training = with_replay(training, settings, data)
        masking = masking_of(tokenizer, settings.whole_words, data.get("tokenizer") or "its text")
        if len(training) <= settings.context:
            raise InputError(
                f"--context: expected less than the {len(training):,} tokens of the training "
                f"text, found {settings.context}"
            )
        config = self.new_config(vocabulary=len(tokenizer), **sizes)
        Model, _ = self.types()
        model = Model(config, rng)
        passages = Passages(
            *(training, settings.batch, settings.context, *frame_of(tokenizer)),
            seed=settings.seed,
            pairs=settings.next_sentence,
        )
        held_out = stretches(validation, settings.validation_tokens)
        fixed = list(hidden_passages(held_out, settings.context, tokenizer, masking))
        task = MaskedTask(
            model, passages, masking, fixed, lambda: shown_filled(model, tokenizer, fixed)
        )
        targets = np.concatenate([batch.targets for batch in fixed])
        baseline = frequency_loss(training[:COUNTED], targets)
        unit = "masked token"
        return Parts(model, task, unit, {"tokenizer": tokenizer}, item="token", baseline=baseline)

    def closing(self, parts: Parts, summary: "Summary") -> Iterator[str]:
        """How many of the hidden tokens the model finds."""
        measures = parts.task.measures  # type: ignore[attr-defined]
        if measures:
            yield f"masked accuracy {measures['masked_accuracy']:.1%}"

    def sample(self, folder: "RunFolder") -> Iterator[str]:
        """What the model with the best weights fills in."""
        from minillm.runs.run import load

        run = load(folder.path)
        masking = masking_of(run.tokenizer, run.settings.whole_words, str(folder.path))
        _, ids = evaluation_text_or_shards(run, Evaluation())
        context = run.settings.context
        first = list(hidden_passages(ids[:context], context, run.tokenizer, masking))
        yield "sample, in brackets what the model fills in and what stood there:\n\n"
        yield shown_filled(run.model, run.tokenizer, first, most=context) + "\n"

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Accuracy and nats of the hidden tokens, beside what counting the text reaches."""
        from minillm.metrics import bits, perplexity
        from minillm.training.masked import evaluate_filling

        check_head(run)
        masking = masking_of(run.tokenizer, run.settings.whole_words, str(run.path))
        name, ids = evaluation_text_or_shards(run, asked)
        batches = list(hidden_passages(ids, run.model.config.context, run.tokenizer, masking))
        nats, accuracy, hidden = evaluate_filling(run.model, batches)
        return {
            "text": name,
            "unit": run.tokenizer.unit,
            "tokens": len(ids),
            "masked_tokens": hidden,
            "masked_accuracy": accuracy,
            "nats_per_masked_token": nats,
            "bits_per_masked_token": bits(nats),
            "perplexity": perplexity(nats),
            **by_counting(run, batches),
        }

    def nats_on(self, run: "Run", ids: "Ids") -> tuple[float, int]:
        """The mean loss on a text, in nats per hidden token, and the number of these."""
        from minillm.training.masked import evaluate_filling

        masking = masking_of(run.tokenizer, run.settings.whole_words, str(run.path))
        context = run.model.config.context
        batches = hidden_passages(ids, context, run.tokenizer, masking)
        nats, _, hidden = evaluate_filling(run.model, batches)
        return nats, hidden

    def fill(self, run: "Run", text: str, top: int) -> list[list[tuple[str, float]]]:
        """See :meth:`minillm.runs.run.Run.fill`."""
        import numpy as np

        from minillm import ops
        from minillm.data.masking import MaskedBatch
        from minillm.data.passages import framed

        check_head(run)
        tokenizer: Any = run.tokenizer
        ids = tokenizer.encode(text, "TEXT")
        most = run.model.config.context - 2
        if len(ids) > most:
            raise InputError(f"TEXT: expected at most {most} tokens, found {len(ids)}")
        if tokenizer.mask not in ids:
            raise InputError(f"TEXT: expected [MASK] where a word is missing, found {short(text)}")
        texts = framed([[ids]], *frame_of(tokenizer))
        places = texts.ids == tokenizer.mask
        logits = run.model.fill(MaskedBatch(*texts[:3], places, texts.ids[places]))
        logits[:, special_ids(tokenizer)] = -np.inf
        probabilities, _ = ops.softmax(logits)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        return [
            [(tokenizer.show(int(id)), float(row[id])) for id in ranked]
            for row, ranked in zip(probabilities, best, strict=True)
        ]

    def embed(self, run: "Run", texts: Sequence[str], pooling: str | None = None) -> "NDArray":
        """See :meth:`minillm.runs.run.Run.embed`."""
        if pooling not in (None, *POOLINGS):
            raise InputError(f"pooling: expected one of {', '.join(POOLINGS)}; found {pooling!r}")
        return vectors_of(run, rows_of(run, texts), pooling)

    def export(self, run: "Run", file: str | Path, binary: bool = False) -> None:
        """A folder that transformers loads, and sentence-transformers if it is an encoder's."""
        from minillm.formats.bert import export_bert

        if binary:
            raise InputError("--binary: only word vectors have two formats")
        tokenizer: Any = run.tokenizer
        export_bert(run.model, tokenizer, file, sentences_of(run))

    def import_file(self, file: str, folder: "RunFolder") -> str:
        """Makes a run of a BERT of transformers; returns a line that describes it."""
        from minillm.data.registry import absolute
        from minillm.formats.bert import import_bert

        model, tokenizer, sentences = import_bert(file)
        config = asdict(model.config)
        settings = {name: config[name] for name in SIZES}
        make(self.settings, settings, f"{file}: ")  # as it will be loaded
        data = {"files": [], "imported": absolute(file), **asdict(sentences)}
        self.save(folder, model, tokenizer, settings, data)
        weights = sum(array.size for array in model.params.values())
        return f"{weights:,} weights in {config['layers']} layers, {len(tokenizer):,} tokens"


def sentences_of(run: "Run") -> "Sentences":
    """How the run makes a vector of a text, as far as anything is said about it."""
    from minillm.formats.sentences import Sentences

    names = [entry.name for entry in fields(Sentences) if entry.name in run.data]
    return Sentences(**{name: run.data[name] for name in names})


def rows_of(run: "Run", texts: Sequence[str]) -> "list[NDArray[np.int32]]":
    """The ids of each text, without [CLS] and [SEP], as many as are read."""
    context = run.model.config.context
    most = min(context, sentences_of(run).longest or context) - 2
    encode = run.tokenizer.encode
    return [encode(text, f"text {number}")[:most] for number, text in enumerate(texts, start=1)]


def vectors_of(
    run: "Run", rows: "Sequence[NDArray[np.integer]]", pooling: str | None = None
) -> "NDArray":
    """The vector of each row of ids, (n, D)."""
    import numpy as np

    from minillm import ops
    from minillm.data.passages import framed

    model, said = run.model, sentences_of(run)
    pooling = pooling or said.pooling or "mean"
    vectors = np.zeros((len(rows), model.config.width), model.dtype)
    for together in batches([len(row) + 2 for row in rows]):
        batch = framed([[rows[row]] for row in together], *frame_of(run.tokenizer))
        x = model.read(batch.ids, batch.lengths, batch.segments)  # (B, T, D)
        if pooling == "first":
            vectors[together] = x[:, 0]
        else:
            pool = ops.mean_pool if pooling == "mean" else ops.max_pool
            vectors[together] = pool(x, batch.lengths)[0]
    if said.normalised:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), TINY)
    return vectors


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The numbers of the rows that are read together: those of similar length, longest first.

    A batch ends where it has enough tokens, or where its padding would cost more than to begin
    another.

    >>> list(batches([3, 100, 4, 95]))
    [[1, 3], [2, 0]]
    """
    together: list[int] = []
    padding = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        longest = lengths[together[0]] if together else 0
        padding += max(0, longest - lengths[row])
        if together and (padding > PADDING or longest * (len(together) + 1) > TOKENS):
            yield together
            together, padding = [], 0
        together.append(row)
    if together:
        yield together


def special_ids(tokenizer: Any) -> list[int]:
    """The ids that stand for no text."""
    return [tokenizer.tokens.index(token) for token in tokenizer.specials]


def frames(tokenizer: Any) -> bool:
    """Whether it has the special tokens that BERT needs."""
    return None not in [getattr(tokenizer, name, None) for name in ("cls", "sep", "mask")]


def frame_of(tokenizer: Any) -> tuple[int, int]:
    """The ids of [CLS] and [SEP]."""
    return tokenizer.cls, tokenizer.sep


def masking_of(tokenizer: Any, whole_words: bool, source: str) -> "Masking":
    """Which tokens may be hidden: all but the special ones.

    InputError, with ``source``, for a vocabulary without [CLS], [SEP] or [MASK].
    """
    import numpy as np

    from minillm.data.masking import Masking

    if not frames(tokenizer):
        raise InputError(
            f"{source}: expected a vocabulary of unit wordpiece, with [CLS], [SEP] and [MASK], "
            f"found one of unit {tokenizer.unit}"
        )
    ordinary = np.ones(len(tokenizer), bool)
    ordinary[special_ids(tokenizer)] = False
    if not ordinary.any():
        raise InputError(f"{source}: expected a vocabulary with other than special tokens")
    continues = None
    if whole_words:
        continues = np.array([token.startswith("##") for token in tokenizer.tokens])
    return Masking(tokenizer.mask, ordinary, continues)


def hidden_passages(
    ids: "Ids", context: int, tokenizer: Any, masking: "Masking"
) -> "Iterator[MaskedBatch]":
    """A text in passages, one after the other, in which always the same tokens are hidden."""
    import numpy as np

    from minillm.data.passages import passages_once

    rng = np.random.default_rng(MASKS)
    for texts in passages_once(ids, ROWS, context, *frame_of(tokenizer)):
        yield masking.hide(texts, rng)


def check_head(run: "Run") -> None:
    """InputError for a model that cannot fill in words: one that was imported without the head."""
    if not run.model.config.masked_words:
        raise InputError(f"{run.path}: this model was imported without its head for masked words")


def by_counting(run: "Run", batches: "Sequence[MaskedBatch]") -> Results:
    """What counting the training text reaches: the most frequent token, and a 5-gram model.

    Nothing if that text cannot be read any more.
    """
    import numpy as np

    from minillm.metrics import frequency_loss
    from minillm.training.masked import ngram_filling

    if "imported" in run.data or "-" in run.data["files"]:
        return {}
    try:
        _, training, _ = open_text_or_shards(run.settings, dict(run.data), verify=False)
    except InputError:
        return {}
    counted = training[:COUNTED]
    targets = np.concatenate([batch.targets for batch in batches])
    frequent = np.bincount(counted, minlength=len(run.tokenizer))
    frequent[special_ids(run.tokenizer)] = 0
    nats, accuracy = ngram_filling(counted, batches, len(run.tokenizer))
    return {
        "unigram_accuracy": float((targets == frequent.argmax()).mean()),
        "unigram_nats": frequency_loss(counted, targets),
        "5_gram_accuracy": accuracy,
        "5_gram_nats": nats,
    }


def shown_filled(
    model: Any, tokenizer: "Vocabulary", batches: "Sequence[MaskedBatch]", most: int = SHOWN
) -> str:
    """The beginning of the first passage; what the model fills in, and what stood there."""
    batch = batches[0]
    first = batch._replace(
        **{name: getattr(batch, name)[:1] for name in ("ids", "lengths", "segments", "places")}
    )
    filled = iter(model.fill(first).argmax(axis=1).tolist())
    targets = iter(batch.targets.tolist())
    pieces = []
    for id, hidden in zip(first.ids[0, 1:-1].tolist(), first.places[0, 1:-1].tolist(), strict=True):
        if hidden:
            pieces.append(f"[{tokenizer.show(next(filled))}|{tokenizer.show(next(targets))}]")
        elif id not in (tokenizer.bos, tokenizer.eos):
            pieces.append(tokenizer.show(id))
    shown: list[str] = []
    for piece in pieces[:most]:
        if piece.startswith("##") and shown and not shown[-1].endswith("]"):
            shown[-1] += piece[2:]
        else:
            shown.append(piece)
    return " ".join(shown)
