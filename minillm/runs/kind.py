"""A kind of model is one declaration: a subclass of :class:`Kind`, one file in ``runs/kinds/``.

It says all that a command needs to know of a model: the kind's name and help, its settings, how
its data are opened and its task is made, what ``eval`` measures, and what its runs are able to do.
The command line, the loader and :class:`minillm.runs.run.Run` follow from it, so that a new kind is
``models/x.py``, ``runs/kinds/x.py`` and their tests.
"""

import importlib
import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from minillm.errors import InputError
from minillm.runs.settings import Facts

if TYPE_CHECKING:
    import numpy as np

    from minillm.runs.folder import RunFolder
    from minillm.runs.run import Run
    from minillm.text import Vocabulary
    from minillm.training import Summary, Task

Results = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]

GENTLY = 0.3  # of the default learning rate, where a run begins with the weights of another

_kinds: dict[str, "Kind"] = {}


class Complete(InputError):
    """There is nothing left to do for a run that was to be resumed."""


@dataclass
class Parts:
    """What a kind makes of settings and data, for the training loop."""

    model: Any  # has ``config`` and ``params``
    task: "Task"
    unit: str  # what a loss is the mean over: "character", "text", "image"
    vocabularies: "dict[str, Vocabulary]" = field(default_factory=dict)  # by the run's attribute
    notes: list[str] = field(default_factory=list)  # lines to report before the training
    item: str = ""  # what progress counts, where that is the rows of ``task``: "pair"
    baseline: float = math.inf  # the validation loss of guessing by frequency alone


@dataclass(frozen=True)
class Job:
    """A training to be started, or resumed where there is a stored configuration."""

    folder: "RunFolder"
    settings: Any
    data: dict[str, Any]  # where the data are, and what is remembered of them
    stored: dict[str, Any] | None  # the configuration of the run to resume
    report: Callable[[str], None]  # called with each line to be shown
    quiet: bool = False  # no progress is shown, and no loss curve drawn


@dataclass(frozen=True)
class Evaluation:
    """What ``eval`` measures on, and how it searches for outputs."""

    files: tuple[str, ...] = ()  # none: what was held out in training
    part: str | None = None  # "validation" or "test", of a built-in set
    beam: int = 5
    length_exponent: float = 1.0
    beside: bool = False  # set a classifier of texts beside TF-IDF with logistic regression


class Kind:
    """One kind of model.  A subclass with a ``name`` is known to every command.

    Besides the methods below a kind defines those of its abilities: ``write``, ``translate``,
    ``hypotheses``, ``attention``, ``cross_attention``, ``classify``, ``answers``, ``vectors``,
    ``embed``,
    ``export``.  Each takes the run first, then what the method of that name of
    :class:`minillm.runs.run.Run` takes.
    """

    name: ClassVar[str]
    year: ClassVar[int] = 9999  # of the source: kinds are listed in historical order
    help: ClassVar[str]  # a few words
    description: ClassVar[str]
    examples: ClassVar[str]
    settings: ClassVar[type]  # a dataclass: see minillm.runs.settings
    facts: ClassVar[type] = Facts  # a dataclass: what is stored about the data beside
    resumable: ClassVar[bool] = True

    # The formats of other programs that ``export`` writes -> the name of the file or folder.
    exports: ClassVar[dict[str, str]] = {}

    # In config.json of the folders of transformers that ``import_file`` reads.
    model_type: ClassVar[str | None] = None

    # The run's attribute -> the vocabulary's file, and the field of the model's config that is
    # its size.
    vocabularies: ClassVar[dict[str, tuple[str, str]]] = {
        "tokenizer": ("vocabulary.json", "vocabulary")
    }

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in vars(cls):
            _kinds[cls.name] = cls()

    def types(self) -> tuple[type, type]:
        """The classes of the model and of its config, imported when this is called."""
        raise NotImplementedError

    def types_of(self, sizes: Mapping[str, Any]) -> tuple[type, type]:
        """As :meth:`types`, for the stored sizes of a model: where a kind has several."""
        return self.types()

    # A run with ``--init`` begins with the weights of another: see minillm/runs/initial.py.

    def begin_from(self, run: "Run", given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings in place of the defaults where a run begins with another one: its sizes.

        InputError for a run that this kind cannot begin with.
        """
        from minillm.runs.initial import sizes_of

        if run.kind.name != self.name:
            raise InputError(
                f"--init: expected a run of {self.name}, found one of {run.kind.name} in {run.path}"
            )
        defaults = sizes_of(run, self.settings)
        rate = self.settings.learning_rate  # type: ignore[attr-defined]
        if rate is not None and not given.get("lora_rank"):
            defaults["learning_rate"] = GENTLY * rate
        return defaults

    def tokenizer_options(self, run: "Run") -> tuple[str, ...]:
        """The options that ask for another tokenizer than that of the run to begin with."""
        return ("tokenizer", "unit", "vocabulary", "minimum_count", "pretokenised")

    def names_from(self, run: "Run", data: Mapping[str, Any]) -> dict[str, str]:
        """For each weight of that run that is taken, its name in a run of this kind."""
        return {name: name for name in run.model.params}

    def with_length(self, settings: Any, given: Mapping[str, Any], data: dict[str, Any]) -> Any:
        """The settings of a new run whose length, if it is not given, depends on the data."""
        return settings

    def prepare(self, settings: Any, data: dict[str, Any], rng: "np.random.Generator") -> Parts:
        """Opens the data and makes model and task.

        ``data`` says where the data are; what a later command needs to know about them (a
        fingerprint, labels) is added to it.  InputError says what is wrong with the data.
        """
        raise NotImplementedError

    def train(self, job: Job) -> bool:
        """Trains in the job's folder; False if it was interrupted."""
        from minillm.runs.fine_tuning import all_shapes, baseline_of
        from minillm.runs.run import build
        from minillm.runs.start import train_by_gradient_descent

        if job.stored:  # its sizes are checked before memory is taken for them
            base = baseline_of(job.folder, job.stored)
            shapes = job.folder.resume_shapes
            build(self, job.folder, job.stored["model"], lambda: all_shapes(shapes(), base))
        return train_by_gradient_descent(self, job)

    def open_vocabulary(self, values: dict[str, Any]) -> Any:
        """A vocabulary from its JSON form; ValueError says what is wrong with it."""
        from minillm.text import vocabulary_from_dict

        return vocabulary_from_dict(values)

    def save(
        self,
        folder: "RunFolder",
        model: Any,
        tokenizer: "Vocabulary",
        settings: dict[str, Any],
        data: dict[str, Any],
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Writes a whole run that no training loop makes: one that was counted, or imported.

        ``files`` are those for other programs, by name.
        """
        folder.begin()
        for name, content in (files or {}).items():
            folder.save_file(name, content)
        folder.save_json("vocabulary.json", tokenizer.to_dict())
        folder.save_model(model.params, {})
        sizes = asdict(model.config)
        config = {"kind": self.name, "model": sizes, "training": settings, "data": data}
        folder.save_json("config.json", config)  # last: a folder with it is complete

    def build(self, config: Any, vocabularies: dict[str, Any], shapes: Shapes) -> Any:
        """A model of the stored sizes; its weights, which have ``shapes``, are read afterwards.

        InputError or ValueError where the sizes ask for more: a damaged size takes no memory.
        """
        from minillm.runs.placeholders import Placeholders

        Model, _ = self.types_of(asdict(config))
        return Model(config, Placeholders(shapes))

    def load_weights(self, folder: "RunFolder", model: Any, allow_nan: bool) -> None:
        """Reads the weights of a model that :meth:`build` has made."""
        folder.load_model(model.params, allow_nan)

    def check(self, model: Any) -> None:
        """ValueError, with the tensor's name, where the weights that were read cannot be right."""

    def closing(self, parts: Parts, summary: "Summary") -> Iterable[str]:
        """Lines to report when training has ended."""
        return ()

    def sample(self, folder: "RunFolder") -> Iterable[str]:
        """Text that is shown when training has ended: a sample of what the model does."""
        return ()

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """What ``eval`` prints: figures by name."""
        raise InputError(f"{run.path}: a run of {self.name} has no measures")

    def new_config(self, **sizes: Any) -> Any:
        """The model's config; InputError where it does not accept the sizes."""
        _, Config = self.types()
        try:
            return Config(**sizes)
        except ValueError as error:
            raise InputError(str(error)) from None


def kinds() -> dict[str, Kind]:
    """All kinds by name, in historical order: those in ``runs/kinds``, and any from elsewhere."""
    _import_kinds()
    return dict(sorted(_kinds.items(), key=lambda entry: entry[1].year))


@cache
def _import_kinds() -> None:
    package = importlib.import_module("minillm.runs.kinds")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def find_kind(name: str) -> Kind:
    """The kind of that name.  InputError if there is none."""
    if name not in kinds():
        raise InputError(f"kind: expected one of {', '.join(_kinds)}; found {name!r}")
    return _kinds[name]
