"""``gpt``: a Transformer that predicts the next token."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from minillm.errors import InputError
from minillm.runs.kind import Evaluation, Parts, Results
from minillm.runs.settings import (
    Facts,
    FilesSettings,
    TrainingSettings,
    VocabularySettings,
    option,
    with_default,
)
from minillm.runs.text import (
    TextKind,
    check_fingerprint,
    check_kept,
    evaluation_text,
    language_results,
    name_of,
    read_training_text,
    write_text,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minillm.data import Shards
    from minillm.data.windows import Ids
    from minillm.runs.folder import RunFolder
    from minillm.runs.run import Run
    from minillm.text import Vocabulary
    from minillm.training import Summary

COUNTED = 10_000_000  # tokens of the training text whose frequencies are a baseline
SAMPLE = 60  # tokens shown after each validation
MOST_DRAWN = 200  # tokens of a picture of attention weights

SIZES = ("context", "layers", "heads", "width", "dropout")  # settings that the model's config has


@dataclass(frozen=True)
class Settings(FilesSettings, VocabularySettings, TrainingSettings):
    """The settings of a GPT."""

    files: tuple[str, ...] = with_default(
        FilesSettings,
        "files",
        (),
        help="UTF-8 text, any number of files, - for standard input; or one folder that `minillm "
        "tokenize` made; none: the built-in corpus",
    )
    unit: str = option(
        "character",
        "what the model reads at each step",
        choices=("character", "word", "bpe"),
        group="the text",
    )
    tokenizer: str | None = option(
        None,
        "the vocabulary of another run, or a tokenizer's folder or file, in place of --unit",
        "DIR",
        group="the text",
        data=True,
    )
    vocabulary: int = with_default(
        VocabularySettings,
        "vocabulary",
        10000,
        help="keep the N most frequent words; of byte pairs, learn N tokens",
    )
    layers: int = option(4, "number of blocks", "L", least=1, most=1000)
    heads: int = option(4, "heads of attention in each block", "N", least=1, most=65536)
    width: int = option(128, "width of a token's vector", "D", least=1, most=65536)
    context: int = option(
        128, "how many tokens the model sees, and is trained on at once", "C", least=2, most=1 << 20
    )
    dropout: float = option(
        0.0, "fraction of activations zeroed in training", "RATE", least=0, below=1
    )
    order: str = option(
        "random",
        "how windows of the text follow each other: random ones, or one after the other",
        choices=("random", "sequential"),
        group="the run",
    )
    validation_tokens: int = option(
        50_000,
        "measure the validation loss on the first N tokens that are held out (eval: on all)",
        "N",
        least=1,
        most=10**8,
        group="the run",
    )
    learning_rate: float = with_default(TrainingSettings, "learning_rate", 2e-3)
    beta2: float = with_default(TrainingSettings, "beta2", 0.99)
    weight_decay: float = with_default(TrainingSettings, "weight_decay", 0.1)


@dataclass(frozen=True, kw_only=True)
class GPTFacts(Facts):
    """What a run stores about its data."""

    vocabulary_sha256: str | None = option(None, "the fingerprint of the vocabulary")


class GPTKind(TextKind):
    """A stack of Transformer blocks over characters, words or byte pairs."""

    name = "gpt"
    year = 2018
    help = "a Transformer that predicts the next token: GPT"
    description = """\
Train a GPT: it reads a text, attends to all tokens before each, and learns to predict the next.
The last tenth of the text is held out, to measure the model on text that it has not seen."""
    examples = """\
  minillm train gpt --out runs/gpt --minutes 5
        on the Python language reference, which ships with every CPython
  minillm train gpt shakespeare.txt --out runs/shakespeare --layers 6 --width 192 --heads 6
        on a text of your own, over characters
  minillm train gpt python-source --out runs/source --context 256 --batch 16
        on the source of Python's standard library
  minillm tokenize big.txt --out corpus --tokenizer runs/tokenizer
  minillm train gpt corpus --out runs/big --minutes 600
        on a text larger than memory

then: minillm generate DIR, minillm eval DIR, minillm plot attention DIR "a text\""""
    settings = Settings
    exports: ClassVar[dict[str, str]] = {"huggingface": "huggingface"}
    facts = GPTFacts

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.gpt import GPT, GPTConfig

        return GPT, GPTConfig

    def new_model(self, settings: Settings, vocabulary: int, rng: "np.random.Generator") -> Any:
        """The sizes that the settings say."""
        Model, _ = self.types()
        values = {name: getattr(settings, name) for name in SIZES}
        return Model(self.new_config(vocabulary=vocabulary, **values), rng)

    def prepare(
        self, settings: Settings, data: dict[str, Any], rng: "np.random.Generator"
    ) -> Parts:
        """Holds out the last tenth of the text; the vocabulary is that of the rest."""
        import numpy as np

        from minillm.data import RandomWindows, Windows
        from minillm.metrics import frequency_loss
        from minillm.training.context import ContextTask

        self.new_config(vocabulary=2, heads=settings.heads, width=settings.width)  # before the data
        tokenizer, training, validation = open_data(settings, data)
        if len(training) <= settings.context:
            raise InputError(
                f"--context: expected less than the {len(training):,} tokens of the training "
                f"text, found {settings.context}"
            )
        model = self.new_model(settings, len(tokenizer), rng)
        windows: RandomWindows | Windows = (
            RandomWindows(training, settings.batch, settings.context, settings.seed)
            if settings.order == "random"
            else Windows(training, settings.batch, settings.context)
        )

        def sample() -> str:
            return " ".join("".join(write_text(model, tokenizer, "", SAMPLE, seed=0)).split())

        task = ContextTask(
            model, windows, validation, settings.batch, settings.validation_tokens, sample
        )
        baseline = frequency_loss(training[:COUNTED], np.asarray(task.validation_ids))
        unit, vocabularies = _unit(tokenizer), {"tokenizer": tokenizer}
        return Parts(model, task, unit, vocabularies, baseline=baseline)

    def closing(self, parts: Parts, summary: "Summary") -> Iterator[str]:
        """How fast the training was."""
        from minillm.training.speed import matmul_peak, transformer_flops

        rate = summary.tokens / max(1e-9, summary.seconds - summary.validation_seconds)
        peak = matmul_peak()
        share = rate * transformer_flops(parts.model) / peak
        yield (
            f"{rate:,.0f} tokens per second: {share:.0%} of what this machine's matrix products "
            f"reach ({peak / 1e9:,.0f} GFLOP/s)"
        )

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Nats and bits per token, per byte and per character, and perplexity."""
        from minillm.training.context import evaluate_in_context

        name, ids, sizes = evaluation_data(run, asked)
        nats, tokens = evaluate_in_context(run.model, ids, run.settings.batch)
        results = language_results(name, run.tokenizer, nats, tokens)
        return results | per_byte_and_character(nats * tokens, *sizes)

    def attention(
        self, run: "Run", text: str, layer: int, head: int
    ) -> "tuple[NDArray, list[str]]":
        """See :meth:`minillm.runs.run.Run.attention`."""
        import numpy as np

        config = run.model.config
        for name, value, count in (("layer", layer, config.layers), ("head", head, config.heads)):
            if not 0 <= value < count:
                raise InputError(f"--{name}: expected 0 to {count - 1}, found {value}")
        ids = run.tokenizer.encode(text, "TEXT")
        most = min(config.context, MOST_DRAWN)
        if not 1 <= len(ids) <= most:
            raise InputError(f"TEXT: expected 1 to {most} tokens, found {len(ids)}")
        weights = run.model.attention_weights(np.asarray(ids, np.int64)[None], layer)
        return weights[0, head], [run.tokenizer.show(int(id)) for id in ids]

    def export(self, run: "Run", file: str | Path, binary: bool = False) -> None:
        """A folder that transformers loads, with the same logits."""
        from minillm.formats.huggingface import export_gpt2

        if binary:
            raise InputError("--binary: only word vectors have two formats")
        export_gpt2(run.model, run.tokenizer, file)

    def imports(self, file: str, head: bytes) -> bool:
        """Whether a file is one to import as this kind: any folder, in which reading looks."""
        return Path(file).is_dir()

    def import_file(self, file: str, folder: "RunFolder") -> str:
        """Makes a run of a GPT-2 of transformers; returns a line that describes it."""
        from minillm.data.registry import absolute
        from minillm.formats.huggingface import import_gpt2

        model, tokenizer = import_gpt2(file)
        sizes = asdict(model.config)
        folder.begin()
        folder.save_json("vocabulary.json", tokenizer.to_dict())
        folder.save_model(model.params, {})
        config = {
            "kind": self.name,
            "model": sizes,
            "training": {name: sizes[name] for name in SIZES} | {"unit": tokenizer.unit},
            "data": {"files": [], "imported": absolute(file)},
        }
        folder.save_json("config.json", config)  # last: a folder with it is complete
        weights = sum(array.size for array in model.params.values())
        return f"{weights:,} weights in {model.config.layers} layers, {len(tokenizer):,} tokens"


def _unit(tokenizer: "Vocabulary") -> str:
    """What a loss is the mean over, in words."""
    return tokenizer.unit if tokenizer.unit in ("character", "word") else "token"


# --- data -------------------------------------------------------------------------------


def open_data(settings: Settings, data: dict[str, Any]) -> "tuple[Vocabulary, Ids, Ids]":
    """The vocabulary, and the ids for training and for validation."""
    from minillm.text import load_tokenizer

    shards = open_shards(data["files"])
    given = load_tokenizer(data["tokenizer"]) if data.get("tokenizer") else None
    if shards is not None:
        tokenizer = given or tokenizer_of(shards)
        check_same_vocabulary(shards, tokenizer, "--tokenizer")
        check_vocabulary_kept(data, tokenizer)
        check_fingerprint(data, shards.sha256)
        return (tokenizer, *shards.split())

    from minillm.data import split_text
    from minillm.text import build_vocabulary

    training, validation = split_text(read_training_text(data))
    tokenizer = given or build_vocabulary(
        [training],
        settings.split_into,
        settings.minimum_count,
        settings.vocabulary,
        held_out=[validation],
    )
    check_vocabulary_kept(data, tokenizer)
    name = name_of(data)
    return tokenizer, tokenizer.encode(training, name), tokenizer.encode(validation, name)


def open_shards(files: Any) -> "Shards | None":
    """The shards, if ``files`` is the name of one folder of them; None: texts."""
    from minillm.data import Shards
    from minillm.data.shards import is_shards

    folders = [name for name in files if is_shards(name)]
    if not folders:
        return None
    if len(files) > 1:
        raise InputError(f"{folders[0]}: expected a folder of shards alone, or FILEs of text")
    return Shards(folders[0])


def tokenizer_of(shards: "Shards") -> "Vocabulary":
    """The vocabulary that the shards were made with."""
    from minillm.text import load_tokenizer

    tokenizer = load_tokenizer(shards.path / "vocabulary.json")
    if len(tokenizer) != shards.vocabulary:
        raise InputError(
            f"{shards.path / 'index.json'}: vocabulary: expected {len(tokenizer)}, the size of "
            f"vocabulary.json, found {shards.vocabulary}"
        )
    return tokenizer


def check_same_vocabulary(shards: "Shards", tokenizer: "Vocabulary", whose: str) -> None:
    """InputError if the ids of the shards are those of another vocabulary."""
    own = tokenizer_of(shards)
    if own.to_dict() != tokenizer.to_dict():
        raise InputError(
            f"{shards.path}: expected shards of the vocabulary of {whose} ({len(tokenizer)} "
            f"tokens, unit {tokenizer.unit}), found those of another ({len(own)} tokens, "
            f"unit {own.unit})"
        )


def check_vocabulary_kept(data: dict[str, Any], tokenizer: "Vocabulary") -> None:
    """Stores the vocabulary's fingerprint in ``data``; InputError if it had another one before."""
    import hashlib
    import json

    found = hashlib.sha256(json.dumps(tokenizer.to_dict(), sort_keys=True).encode()).hexdigest()
    if data.setdefault("vocabulary_sha256", found) != found:
        raise InputError(
            f"{data.get('tokenizer') or name_of(data)}: expected the vocabulary that the run was "
            f"started with, found another, of {len(tokenizer)} tokens"
        )


# --- measuring --------------------------------------------------------------------------


def evaluation_data(run: "Run", asked: Evaluation) -> "tuple[str, Ids, tuple[int, int]]":
    """What to measure on: its name, its ids, and the bytes and characters that are predicted."""
    shards = open_shards(asked.files or run.data.get("files", ()))
    if shards is None:
        name, text = evaluation_text(run, asked)
        ids = run.tokenizer.encode(text, name)
        first = run.tokenizer.decode([int(id) for id in ids[:1]])
        return name, ids, (_bytes(text) - _bytes(first), len(text) - len(first))
    if asked.part == "test":
        raise InputError("--part: the text of a language model has no test part")
    check_same_vocabulary(shards, run.tokenizer, str(run.path))
    name = str(shards.path)
    if not asked.files:
        check_kept(run)
        check_fingerprint(run.data, shards.sha256)
        name, shards = f"the held-out end of {name}", shards.split()[1]
    return name, shards, sizes_as_text(shards.part(1, len(shards)), run.tokenizer)


def sizes_as_text(ids: "Ids", tokenizer: "Vocabulary", block: int = 1 << 16) -> tuple[int, int]:
    """Bytes and characters of the text of ``ids``; EOS is none."""
    tokens = (
        int(id)
        for start in range(0, len(ids), block)
        for id in ids[start : start + block]
        if id != tokenizer.eos
    )
    sizes = [0, 0]
    for piece in tokenizer.stream(tokens):
        sizes[0] += _bytes(piece)
        sizes[1] += len(piece)
    return sizes[0], sizes[1]


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def per_byte_and_character(nats: float, bytes: int, characters: int) -> Results:
    """A sum of nats over bytes and characters: measures that do not depend on the vocabulary."""
    from minillm.metrics import bits

    results: Results = {}
    for name, count in (("byte", bytes), ("character", characters)):
        if count:
            results[f"nats_per_{name}"] = nats / count
            results[f"bits_per_{name}"] = bits(nats / count)
    return results
