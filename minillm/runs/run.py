"""A run: a trained model and all that belongs to it.  ``minillm.load(folder)`` opens any."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from minillm.errors import InputError, short
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Evaluation, Kind, Results, Shapes, kinds
from minillm.runs.settings import LENGTHS, TrainingSettings, make, option_of, types_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from minillm.decoding import Translation
    from minillm.models.vectors import Vectors
    from minillm.text import Vocabulary


# Sizes of a model that follow from its data or other settings, not from the setting of that name.
OF_THE_DATA = {"vocabulary", "negative"}
LARGEST = 10**9  # the largest size that is accepted in a stored configuration


class Classified(NamedTuple):
    """The label that a classifier gives to one text or image."""

    label: str
    probability: float
    probabilities: dict[str, float]  # of every label, the most probable first


class Answered(NamedTuple):
    """An answer that stands in a context: ``context[start:end]`` is ``text``.

    Where the context has no answer, ``text`` is empty, and start and end are None.
    """

    text: str
    probability: float  # among the best candidates
    start: int | None
    end: int | None


class Run:
    """A model, its vocabularies and its settings.

    ``model``; ``tokenizer``, or ``source`` and ``target`` of an encoder-decoder; ``settings``;
    ``data``, what is stored about the data; ``kind``, ``folder``.

    What a run is able to do depends on its kind.  For anything else, InputError names the kinds
    that can do it.
    """

    tokenizer: "Vocabulary"
    source: "Vocabulary"
    target: "Vocabulary"

    def __init__(
        self,
        kind: Kind,
        folder: RunFolder,
        model: Any,
        vocabularies: "dict[str, Any]",
        settings: Any,
        data: dict[str, Any],
    ):
        self.kind, self.folder, self.model = kind, folder, model
        self.settings, self.data = settings, data
        for name, vocabulary in vocabularies.items():
            setattr(self, name, vocabulary)

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.folder.path

    def __repr__(self) -> str:
        return f"<run of {self.kind.name} in {self.path}: {self.model!r}>"

    def write(
        self,
        prompt: str = "",
        length: int = 500,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """The prompt and its continuation, piece by piece as it is drawn.

        ``length`` counts tokens.  ``stop``: tokens before which it ends; one that was trained on
        documents ends by itself, too.  The other arguments are those of
        :func:`minillm.decoding.next_probabilities`.

        >>> run = minillm.load("runs/first")  # doctest: +SKIP
        >>> "".join(run.write("The ", length=200, seed=1))  # doctest: +SKIP
        """
        return self._ability("write")(self, prompt, length, temperature, top_k, top_p, seed, stop)

    def translate(
        self, texts: Sequence[str], beam: int = 5, length_exponent: float = 1.0
    ) -> list[str]:
        """The best output for each text."""
        found = self.hypotheses(texts, beam=beam, length_exponent=length_exponent)
        return [best[0].text for best in found]

    def hypotheses(self, texts: Sequence[str], **options: Any) -> "list[list[Translation]]":
        """The outputs for each text, best first, with scores and attention weights.

        The options are those of :meth:`minillm.decoding.Translator.translate`.
        """
        ability = self._ability("hypotheses")
        return ability(self, texts, **options) if len(texts) else []

    def cross_attention(
        self, text: str, ids: Sequence[int], layer: int | None, head: int | None
    ) -> "NDArray":
        """The weights (T, S) with which the tokens of an output attend to those of the source.

        ``ids`` are the output's, with EOS.  Layers and heads are counted from 0; no layer: the
        last but one, no head: the mean of all.
        """
        return self._ability("cross_attention")(self, text, ids, layer, head)

    def attention(self, text: str, layer: int, head: int) -> "tuple[NDArray, list[str]]":
        """The weights (T, T) with which the tokens of a text attend to each other, and the tokens.

        Layers and heads are counted from 0.
        """
        return self._ability("attention")(self, text, layer, head)

    def classify(
        self, items: Sequence[Any], places: Sequence[str] | None = None
    ) -> list[Classified]:
        """The label of each text, or of each image (its pixels, 0 to 1).

        ``places`` name the items in error messages.
        """
        ability = self._ability("classify")
        return ability(self, items, places) if len(items) else []

    def answer(self, question: str, context: str) -> Answered:
        """The answer to a question, as it stands in a context of any length.

        >>> run = minillm.load("runs/qa")  # doctest: +SKIP
        >>> run.answer("What is the default of end?", "say(end='.')")  # doctest: +SKIP
        """
        return self.answers([question], context)[0][0]

    def answers(
        self, questions: Sequence[str], context: str, number: int = 1
    ) -> list[list[Answered]]:
        """The best ``number`` answers to each question about a context, the best first."""
        ability = self._ability("answers")
        return ability(self, questions, context, number) if len(questions) else []

    @property
    def vectors(self) -> "Vectors":
        """The words and their vectors: nearest words, analogies, a map."""
        return self._ability("vectors")(self)

    def fill(self, text: str, top: int = 5) -> list[list[tuple[str, float]]]:
        """For each [MASK] in a text, the ``top`` most probable tokens and their probabilities.

        Of several, each is filled in by itself.

        >>> minillm.load("runs/bert").fill("the [MASK] statement")  # doctest: +SKIP
        """
        return self._ability("fill")(self, text, top)

    def embed(self, texts: Sequence[str], pooling: str | None = None) -> "NDArray":
        """A vector for each text, (n, D): what the model makes of its tokens.

        pooling: their "mean", the "first", that of [CLS], or the "max" of each feature; None: as
        a sentence encoder's own files say, and else the mean.  Of a text that is longer than the
        model's context, or than those files say, the beginning is read.
        """
        return self._ability("embed")(self, texts, pooling)

    def export(
        self, file: str | Path | None = None, format: str | None = None, **options: Any
    ) -> str | Path:
        """Writes the model in a format that other programs read; returns where.

        ``format`` is one of ``kind.exports``, by default the first of them, and ``file`` the name
        of the file or folder, by default that which stands there, in the run's folder.
        """
        formats = self.kind.exports
        if not formats:
            self._ability("export")  # says which kinds have it
        if format is not None and format not in formats:
            raise InputError(
                f"--format: a run of {self.kind.name} is exported as {' or '.join(formats)}, "
                f"found {format!r}"
            )
        if file is None:
            file = self.path / formats[format or next(iter(formats))]
        if (format or next(iter(formats))) == "peft":
            from minillm.runs.fine_tuning import export_additions

            export_additions(self, file, **options)
        else:
            self._ability("export")(self, file, **options)
        return file

    def evaluate(self, asked: Evaluation | None = None) -> Results:
        """Its measures on held-out data, by name."""
        return self.kind.evaluate(self, asked or Evaluation())

    def _ability(self, name: str) -> Any:
        ability = getattr(self.kind, name, None)
        if ability is None:
            able = " or ".join(kind.name for kind in kinds().values() if hasattr(kind, name))
            raise InputError(
                f"{self.path / 'config.json'}: expected a run of {able}, found {self.kind.name!r}"
            )
        return ability


def load(path: str | Path, allow_nan: bool = False) -> Run:
    """Opens the run in a folder, whatever its kind: that is stored in its configuration.

    InputError names the file in which something is missing or damaged; weights that are not
    finite are, unless ``allow_nan``.
    """
    from minillm.runs.fine_tuning import all_shapes, baseline_of, load_merged

    folder = RunFolder(path)
    config = stored_config(folder)
    kind = kinds()[config["kind"]]
    base = baseline_of(folder, config)
    model, vocabularies = build(
        kind, folder, config["model"], lambda: all_shapes(folder.model_shapes(), base)
    )
    if base is None:
        kind.load_weights(folder, model, allow_nan)
    else:
        load_merged(kind, folder, config, base, model, allow_nan)
    try:
        kind.check(model)
    except ValueError as error:
        raise InputError(f"{folder.model_path}: it is damaged: {error}") from None
    return Run(kind, folder, model, vocabularies, config["training"], config["data"])


def build(
    kind: Kind, folder: RunFolder, config: Any, shapes: Callable[[], Shapes]
) -> tuple[Any, dict[str, Any]]:
    """A model of the stored sizes, whose weights are to be read, and its vocabularies.

    ``shapes`` reads the shapes of these weights.  InputError names the file that is damaged.
    """
    vocabularies = {
        name: open_vocabulary(kind, folder, file) for name, (file, _) in kind.vocabularies.items()
    }
    for name, (file, size) in kind.vocabularies.items():
        known, found = getattr(config, size, None), len(vocabularies[name])
        if known is not None and known != found:
            raise InputError(
                f"{folder.path}: the model knows {known} tokens, but {file} has {found}"
            )
    stored = shapes()
    try:
        return kind.build(config, vocabularies, stored), vocabularies
    except (KeyError, TypeError, ValueError, ArithmeticError, MemoryError) as error:
        place = f"{folder.path / 'config.json'}: its configuration is damaged: "
        raise InputError(f"{place}{error}") from None


def stored_config(folder: RunFolder, kind: Kind | None = None) -> dict[str, Any]:
    """The configuration of a run, checked: its "model" as a config, its "training" as settings."""
    folder.settle()
    config = folder.load_json("config.json")
    path = folder.path / "config.json"
    known = kinds() if kind is None else {kind.name: kind}
    if not isinstance(config.get("kind"), str) or config["kind"] not in known:
        raise InputError(
            f"{path}: expected a run of {' or '.join(known)}, found {short(config.get('kind'))}"
        )
    for entry in ("model", "training", "data"):
        if not isinstance(config.get(entry), dict):
            raise InputError(f"{path}: expected an object {entry!r}")
    if not isinstance(config.get("unit", ""), str):
        raise InputError(f"{path}: unit: expected a text, found {short(config['unit'])}")
    kind = known[config["kind"]]
    place = f"{path}: its configuration is damaged: "
    sizes = _renamed(config["model"], {"points": "pixels"})
    _, Config = kind.types_of(sizes)
    config["model"] = config_of(Config, sizes, kind.settings, place)
    settings: Any = make(kind.settings, _all_lengths(kind, config["training"]), place)
    _check_length(settings, place)
    for name in config["training"].keys() & sizes.keys() - OF_THE_DATA:
        if getattr(settings, name) not in (None, getattr(config["model"], name)):
            raise InputError(f"{place}{name}: the model and the settings do not agree")
    # What an older version could not choose is as the model has it.
    both = {entry.name for entry in fields(Config)} & types_of(kind.settings).keys()
    own = both - config["training"].keys() - OF_THE_DATA
    config["training"] = replace(settings, **{n: getattr(config["model"], n) for n in own})
    config["data"] = _renamed(config["data"], {"name": "data"})
    _check_data(kind, config["data"], config["model"], place)
    return config


def _all_lengths(kind: Kind, training: dict[str, Any]) -> dict[str, Any]:
    """The stored settings; a length that an older version did not have was not chosen."""
    if not issubclass(kind.settings, TrainingSettings) or not training.keys() & set(LENGTHS):
        return training
    return dict.fromkeys(LENGTHS, None) | training


def _check_length(settings: Any, place: str) -> None:
    """InputError unless a run of the training loop has one length."""
    if not isinstance(settings, TrainingSettings):
        return
    lengths = [getattr(settings, name) for name in LENGTHS]
    if lengths.count(None) != len(LENGTHS) - 1:
        raise InputError(f"{place}expected one of {', '.join(LENGTHS)}, found {lengths}")


def _check_data(kind: Kind, data: dict[str, Any], model: Any, place: str) -> None:
    """InputError where what is stored about the data is not as the kind declares it."""
    declared = {name for name in types_of(kind.settings) if option_of(kind.settings, name).data}
    for name in declared - data.keys():
        if not types_of(kind.settings)[name][2]:  # what may be None may be absent
            raise InputError(f"{place}data: {name!r} is missing")
    place = f"{place}data: "
    make(kind.settings, {name: data[name] for name in declared & data.keys()}, place)
    known = types_of(kind.facts).keys() & data.keys()  # older versions stored others, too
    facts: Any = make(kind.facts, {name: data[name] for name in known}, place)
    labels = len(getattr(facts, "labels", ()))
    if hasattr(facts, "labels") and labels != model.classes:
        raise InputError(f"{place}labels: expected {model.classes} of them, found {labels}")


def config_of(Config: type, values: dict[str, Any], settings: type, place: str) -> Any:
    """A model's config from its JSON form.

    InputError for other names or types, and for sizes above the largest value of the setting of
    that name, or above a billion; the config checks the rest itself.
    """
    hints = get_type_hints(Config)
    entries = {entry.name: entry for entry in fields(Config)}
    nested = Config.nested(values) if hasattr(Config, "nested") else {}
    for name in nested.keys() & values.keys():
        if not isinstance(values[name], dict):
            raise InputError(f"{place}{name}: expected an object, found {short(values[name])}")
        inner = config_of(nested[name], values[name], settings, f"{place}{name}: ")
        values = {**values, name: inner}
    for name, value in values.items():
        if name not in entries:
            raise InputError(f"{place}there is no size {short(name)}")
        if not _has_type(value, hints[name]):
            raise InputError(f"{place}{name}: expected {hints[name]}, found {short(value)}")
        most = option_of(settings, name).most if name in types_of(settings) else LARGEST
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and not abs(number) <= most:
                raise InputError(
                    f"{place}{name}: expected at most {most:,.0f}, found {short(number)}"
                )
    missing = [
        name for name, entry in entries.items() if name not in values and entry.default is MISSING
    ]
    if missing:
        raise InputError(f"{place}{missing[0]!r} is missing")
    plain = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    try:
        return Config(**plain)
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}{str(error)[:300]}") from None


def _has_type(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is what an annotation such as int, float | None says."""
    if hasattr(hint, "__args__") and getattr(hint, "__origin__", None) is not tuple:
        return any(_has_type(value, choice) for choice in hint.__args__)
    if getattr(hint, "__origin__", None) is tuple:
        return isinstance(value, list) and all(_has_type(v, hint.__args__[0]) for v in value)
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    return isinstance(value, int | float if hint is float else hint)


def _renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The values under their present names, where an older version used others."""
    return {names.get(name, name): value for name, value in values.items()}


def open_vocabulary(kind: Kind, folder: RunFolder, file: str) -> Any:
    """A vocabulary of the run.  InputError, with its file, where it is damaged."""
    values = folder.load_json(file)
    try:
        return kind.open_vocabulary(values)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{folder.path / file}: it is damaged: {error}") from None
