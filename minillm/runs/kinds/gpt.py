"""``gpt``: a Transformer that predicts the next token."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from minillm.errors import InputError
from minillm.mpi import ranks
from minillm.runs.adaptation import with_replay
from minillm.runs.kind import GENTLY, Evaluation, Job, Parts, Results
from minillm.runs.settings import (
    AdaptationSettings,
    TextSettings,
    TrainingSettings,
    option,
    with_default,
)
from minillm.runs.shards import evaluation_text_or_shards, open_text_or_shards
from minillm.runs.text import TextKind, results_on, write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minillm.data.windows import Ids
    from minillm.runs.folder import RunFolder
    from minillm.runs.run import Run
    from minillm.training import Summary

COUNTED = 10_000_000  # tokens of the training text whose frequencies are a baseline
SAMPLE = 60  # tokens shown after each validation
MOST_DRAWN = 200  # tokens of a picture of attention weights

OFTEN = 25  # times that a text is read, above which a model learns it by heart
SHARE = 0.5  # of the peak, roughly, is what training reaches

SIZES = ("context", "layers", "heads", "width", "dropout")  # settings that the model's config has


@dataclass(frozen=True)
class Settings(TextSettings, TrainingSettings, AdaptationSettings):
    """The settings of a GPT."""

    files: tuple[str, ...] = with_default(
        TextSettings,
        "files",
        (),
        help="UTF-8 text, any number of files, - for standard input; or one folder that `minillm "
        "tokenize` made; none: the built-in corpus",
    )
    layers: int = option(4, "number of blocks", "L", least=1, most=1000)
    heads: int = option(4, "heads of attention in each block", "N", least=1, most=65536)
    width: int = option(128, "width of a token's vector", "D", least=1, most=65536)
    context: int = option(
        128, "how many tokens the model sees, and is trained on at once", "C", least=2, most=1 << 20
    )
    dropout: float | None = option(
        None,
        "fraction of activations zeroed in training",
        "RATE",
        least=0,
        below=1,
        default_help="0; 0.1 where the text will be read more than 25 times",
    )
    order: str = option(
        "random",
        "how windows of the text follow each other: random ones, or one after the other",
        choices=("random", "sequential"),
        group="the run",
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
        TrainingSettings, "learning_rate", None, default_help="0.4 / width; with --init 0.3 of it"
    )
    batch: int = with_default(TrainingSettings, "batch", 16)
    beta2: float = with_default(TrainingSettings, "beta2", 0.99)
    weight_decay: float = with_default(TrainingSettings, "weight_decay", 0.1)


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
  minillm train gpt my_text.txt --init runs/gpt --out runs/adapted
        from one text to another, with the tokenizer of the first

then: minillm generate DIR, minillm eval DIR, minillm plot attention DIR "a text\""""
    settings = Settings
    exports: ClassVar[dict[str, str]] = {"huggingface": "huggingface", "peft": "peft"}
    model_type = "gpt2"

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.gpt import GPT, GPTConfig

        return GPT, GPTConfig

    def new_model(self, settings: Settings, vocabulary: int, rng: "np.random.Generator") -> Any:
        """The sizes that the settings say."""
        Model, _ = self.types()
        sizes = {name: getattr(settings, name) for name in SIZES}
        sizes["dropout"] = settings.dropout or 0.0
        return Model(self.new_config(vocabulary=vocabulary, **sizes), rng)

    def train(self, job: Job) -> bool:
        """As any kind; the best learning rate falls with the width (Yang et al. 2022)."""
        settings = job.settings
        if settings.learning_rate is None:
            gently = job.data.get("init") and not settings.lora_rank
            rate = (GENTLY if gently else 1) * 0.4 / settings.width
            settings = replace(settings, learning_rate=rate)
        if settings.dropout is None and job.stored:  # what it was when the run began
            settings = replace(settings, dropout=job.stored["model"].dropout)
        return super().train(replace(job, settings=settings))

    def prepare(
        self, settings: Settings, data: dict[str, Any], rng: "np.random.Generator"
    ) -> Parts:
        """Holds out the last tenth of the text; the vocabulary is that of the rest."""
        from minillm.data import RandomWindows, Windows
        from minillm.metrics import frequency_loss
        from minillm.text import unit_name
        from minillm.training.context import ContextTask

        self.new_config(vocabulary=2, heads=settings.heads, width=settings.width)  # before the data
        tokenizer, training, validation = open_text_or_shards(settings, data)
        training = with_replay(training, settings, data)
        batch, context = settings.batch, settings.context
        if len(training) <= context:
            raise InputError(
                f"--context: expected less than the {len(training):,} tokens of the training "
                f"text, found {context}"
            )
        model = self.new_model(settings, len(tokenizer), rng)
        notes = []
        if settings.dropout is None and (times := times_read(settings, model, training)) > OFTEN:
            model.config = replace(model.config, dropout=0.1)
            notes.append(f"dropout 0.1, for the text will be read about {times:,.0f} times")
        windows: RandomWindows | Windows
        if settings.order == "random":
            windows = RandomWindows(training, batch, context, settings.seed)
        else:
            windows = Windows(training, batch, context)

        def sample() -> str:
            pieces = write_text(
                model, tokenizer, length=SAMPLE, seed=0, documents=data["documents"]
            )
            return " ".join("".join(pieces).split())

        task = ContextTask(model, windows, validation, batch, settings.validation_tokens, sample)
        baseline = frequency_loss(training[:COUNTED], task.validation_ids)
        unit = unit_name(tokenizer)
        return Parts(model, task, unit, {"tokenizer": tokenizer}, notes, baseline=baseline)

    def closing(self, parts: Parts, summary: "Summary") -> Iterator[str]:
        """How fast the training was."""
        from minillm.training.plan import of_gpt
        from minillm.training.speed import matmul_peak

        rate = summary.tokens / max(1e-9, summary.seconds - summary.validation_seconds)
        peak = matmul_peak() * ranks().size
        share = rate * of_gpt(parts.model.config).operations / peak
        yield (
            f"{rate:,.0f} tokens per second: {share:.0%} of what this machine's matrix products "
            f"reach ({peak / 1e9:,.0f} GFLOP/s)"
        )

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Nats and bits per token, per byte and per character, and perplexity."""
        name, ids = evaluation_text_or_shards(run, asked)
        return results_on(name, run.tokenizer, ids, *self.nats_on(run, ids))

    def nats_on(self, run: "Run", ids: "Ids") -> tuple[float, int]:
        """The mean loss on a text, in nats per token, and the number of these."""
        from minillm.training.context import evaluate_in_context

        return evaluate_in_context(run.model, ids, run.settings.batch)

    def attention(
        self, run: "Run", text: str, layer: int, head: int
    ) -> "tuple[NDArray, list[str]]":
        """See :meth:`minillm.runs.run.Run.attention`."""
        config = run.model.config
        for name, value, count in (("layer", layer, config.layers), ("head", head, config.heads)):
            if not 0 <= value < count:
                raise InputError(f"--{name}: expected 0 to {count - 1}, found {value}")
        ids = run.tokenizer.encode_known(text, "TEXT")
        most = min(config.context, MOST_DRAWN)
        if not 1 <= len(ids) <= most:
            raise InputError(f"TEXT: expected 1 to {most} tokens, found {len(ids)}")
        weights = run.model.attention_weights(ids[None], layer)
        return weights[0, head], [run.tokenizer.show(int(id)) for id in ids]

    def export(self, run: "Run", file: str | Path, binary: bool = False) -> None:
        """A folder that transformers loads, with the same logits."""
        from minillm.formats.gpt2 import export_gpt2

        if binary:
            raise InputError("--binary: only word vectors have two formats")
        export_gpt2(run.model, run.tokenizer, file)

    def import_file(self, file: str, folder: "RunFolder") -> str:
        """Makes a run of a GPT-2 of transformers; returns a line that describes it."""
        from minillm.data.registry import absolute
        from minillm.formats.gpt2 import import_gpt2

        model, tokenizer = import_gpt2(file)
        config = asdict(model.config)
        settings = {name: config[name] for name in SIZES} | {"unit": tokenizer.unit}
        data = {"files": [], "imported": absolute(file), "documents": tokenizer.eos is not None}
        self.save(folder, model, tokenizer, settings, data)
        weights = sum(array.size for array in model.params.values())
        return f"{weights:,} weights in {config['layers']} layers, {len(tokenizer):,} tokens"


def times_read(settings: Settings, model: Any, training: "Ids") -> float:
    """How often the training text will be read; with --minutes, as fast as this machine may be."""
    from minillm.training.plan import of_gpt
    from minillm.training.speed import matmul_peak

    if settings.epochs is not None:
        return settings.epochs
    if settings.steps is not None:
        tokens: float = settings.steps * settings.accumulate * settings.batch * settings.context
    else:
        assert settings.minutes is not None
        peak = ranks().broadcast(matmul_peak()) * ranks().size
        tokens = 60 * settings.minutes * SHARE * peak / of_gpt(model.config).operations
    return tokens / len(training)
