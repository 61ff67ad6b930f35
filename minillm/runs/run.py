"""A run: a trained model and everything that belongs to it; ``minillm.load(folder)`` opens one.

The classes of runs are in ``runs/kinds/``: a run of text writes, a run of pairs translates, and so
on.  All have what is here.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minillm.data.files import copy_file, file_digest
from minillm.decoding.summaries import Length
from minillm.errors import InputError, elsewhere
from minillm.formats.format import Contents, Format, LoraWeights, formats
from minillm.look.page import Page
from minillm.look.trace import Trace
from minillm.option import make, types_of
from minillm.runs.config import save_run
from minillm.runs.folder import RunFolder
from minillm.runs.kind import EvalData, Results, RunConfig, Vocabularies, kinds
from minillm.runs.lora import lora_weights_of
from minillm.runs.python_data import named_as, python_data
from minillm.runs.settings import EvalOptions, SummarySearch
from minillm.text import ChatTemplate

# What runs of some kind are able to do.
ABILITIES = (
    *("analogy", "answer", "answering", "answers", "chat", "classify", "config", "embed"),
    *("evaluate", "export", "fill", "generate", "hypotheses", "look", "minimal_pairs", "reader"),
    *("save", "similar", "summaries", "summarise", "trace", "translate", "vectors", "write"),
)


class Run:
    """A model, its vocabularies and its settings.

    ``model``; ``tokenizer``, or ``source`` and ``target`` of an encoder-decoder; ``settings``;
    ``data``: the paths of the data, and what is stored about them; ``kind``; ``path``: the folder,
    or the file of another program that was read in its place; ``folder``: None for such a file;
    ``weights_path``: the file of the weights; ``chat_template``: of a model that answers.

    What a run is able to do are the methods of its class.  For a method that it lacks, InputError
    names the kinds that have it.  One text gets one answer, a list of texts a list of answers.
    """

    def __init__(
        self,
        config: RunConfig,
        model: Any,
        vocabularies: Vocabularies,
        path: Path,
        weights_path: Path,
        chat_template: ChatTemplate | None = None,
        folder: RunFolder | None = None,
    ):
        self.kind, self.settings, self.data = config.kind, config.settings, config.data
        self.unit, self.model, self.vocabularies = config.unit, model, vocabularies
        self.path, self.weights_path, self.folder = path, weights_path, folder
        self.chat_template = chat_template
        for name, vocabulary in vocabularies.items():
            setattr(self, name, vocabulary)

    @property
    def config(self) -> Any:
        """The sizes of its model."""
        return self.model.config

    @property
    def stored(self) -> RunConfig:
        """The contents of its config.json."""
        return RunConfig(self.kind, self.config, self.settings, self.data, self.unit)

    @property
    def is_quantised(self) -> bool:
        """Whether some of its weights are quantised."""
        return any(not isinstance(weight, np.ndarray) for weight in self.model.params.values())

    @property
    def home(self) -> Path:
        """The folder where a verb writes by default: its own, or of a model in a file this one."""
        return self.path if self.path.is_dir() else Path()

    def __repr__(self) -> str:
        able = [name for name in ABILITIES if self.has(name) and not hasattr(Run, name)]
        names = ", ".join(able or self.vocabularies)
        return f"<run of {self.kind.name} in {self.path}, {self.described()}: {names}>"

    def __getattr__(self, name: str) -> Any:
        """InputError for a method that runs of other kinds have."""
        able = [] if name.startswith("_") else kinds_with(name)
        if not able:
            raise AttributeError(f"a run has no {name!r}{elsewhere(name, dir(type(self)))}")
        raise self.lacks(able)

    def lacks(self, able: Iterable[str], field: str | None = None) -> InputError:
        """The error for something that only runs of other kinds can do."""
        place = self.place("config.json") if field is None else ""
        return InputError(
            f"{place}expected a run of {' or '.join(able)}, found {self.kind.name!r}", field
        )

    def has(self, name: str) -> bool:
        """Whether its class has this method."""
        return hasattr(type(self), name)

    def place(self, file: str = "") -> str:
        """The beginning of a message; a run in memory has no place to name."""
        return "" if self.folder and self.folder.temporary else f"{self.path / file}: "

    def fingerprint(self) -> str:
        """A digest of the stored weights."""
        if self.folder:
            return self.folder.fingerprint()
        path = self.weights_path
        files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        digests = [file_digest(file, regular=True) for file in files]
        return digests[0] if len(digests) == 1 else ",".join(digests)

    def described(self) -> str:
        """A line about its size."""
        count = sum(array.size for array in self.model.params.values())
        sizes, vocabularies = getattr(self.config, "encoder", self.config), self.vocabularies
        layers = f" in {sizes.layers} layers" if hasattr(sizes, "layers") else ""
        tokens = "".join(f", {len(vocabulary):,} tokens" for vocabulary in vocabularies.values())
        return f"{count:,} weights{layers}{tokens}"

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Save the run in another folder.

        InputError if that already has a run, unless ``overwrite``.
        """
        folder = RunFolder(path)
        with folder.held():
            folder.check_free(overwrite)
            if self.folder:
                self.folder.copy_to(folder)
            else:
                params = self.model.params
                if self.is_quantised:
                    params = partial(copy_file, self.weights_path)
                save_run(folder, self.stored, params, self.vocabularies, chat=self.chat_template)

    def look(self, text: Any, beside: "Run | None" = None, target: str | None = None) -> Any:
        """A page that shows what the model does with a text: see :mod:`minillm.look`.

        A notebook shows it; ``save(file)`` writes it, and ``trace`` has its numbers.  ``beside``
        is another run, whose predictions of the same text, or of the same output, are set beside
        these.  A network that was trained on text has the best n-gram of that text beside it by
        default.  ``target`` is the output of a translator to look at; by default it is its own.

        >>> minillm.load("runs/first").look("The while statement")  # doctest: +SKIP
        """
        if not isinstance(text, str):
            return [self.look(one, beside, target) for one in text]
        if beside is None:
            trace = self.trace(text, **self.target_options(target))
            return Page(trace, self.trace_beside(text))
        if target is None and self.has("translate"):
            target = self.translate(text)
        options = self.target_options(target)
        return Page(
            self.trace(text, **options),
            beside.trace(text, **(options if beside.has("translate") else {})),
        )

    def target_options(self, target: str | None) -> dict[str, str]:
        """The options of ``trace`` for a target; InputError unless the run is a translator's."""
        if target is not None and not self.has("translate"):
            raise self.lacks(kinds_with("translate"), "target")
        return {} if target is None else {"target": target}

    def trace_beside(self, text: str) -> Trace | None:
        """A simple model's predictions of the same text, for a look, if there is such a model."""
        return None

    def export(
        self,
        file: str | Path | None = None,
        format: str | None = None,  # noqa: A002
    ) -> str | Path:
        """Write the model in a format that other programs read, and return the path.

        ``format`` is the name of one of :mod:`minillm.formats`, by default the one whose suffix
        ``file`` has, or the model's first.  ``file`` is by default in the run's folder, with the
        format's default name.
        """
        chosen = self._format(file, format)
        if file is None:
            file = self.home / chosen.default
        contents: Contents | LoraWeights
        if chosen.updates:
            contents = lora_weights_of(self)
        else:
            tokenizer = self.vocabularies["tokenizer"]
            contents = Contents(
                self.model, tokenizer, self.chat_template, self.data, self.weights_path
            )
        chosen.write(contents, file)
        return file

    def _format(self, file: str | Path | None, name: str | None) -> Format:
        """The format of ``export``.  InputError for one that does not hold the model."""
        able = [one for one in formats() if one.holds(self.model)]
        if not able:
            held = [
                kind for one in formats() for kind in kinds().values() if kind.model in one.models
            ]
            names = dict.fromkeys(kind.name for kind in held)
            raise self.lacks(names)
        suffixes = {one.suffix: one.name for one in formats() if one.suffix}
        name = name or suffixes.get(Path(file or "").suffix, able[0].name)
        chosen = next((one for one in able if one.name == name), None)
        if chosen is None:
            raise InputError(
                f"a run of {self.kind.name} is exported as "
                f"{' or '.join(one.name for one in able)}, found {name!r}",
                "format",
            )
        return chosen

    def evaluate(
        self,
        text: str | None = None,
        *,
        sentences: Iterable[Sequence[str]] | None = None,
        texts: Iterable[str] | None = None,
        labels: Iterable[str] | None = None,
        pairs: Iterable[tuple[str, str]] | None = None,
        files: str | Path | Sequence[str | Path] = (),
        report: Callable[[str], None] = warnings.warn,
        **options: object,
    ) -> Results:
        """Figures by name, measured on these data, by default on held-out data.

        ``report`` is called with a line about measures that are not available here.  The options
        are the kind's ``eval_options``, such as the ``part`` of a built-in set, or ``beam``
        and ``length_exponent`` for beam search.
        """
        names = tuple(map(str, [files] if isinstance(files, str | Path) else files))
        measured = self.eval_options(options)
        in_memory = self.folder is not None and self.folder.temporary
        with (
            named_as({str(self.path): "the run"} if in_memory else {}),
            python_data(self.kind, names or None, text, sentences, texts, labels, pairs) as path,
        ):
            data = EvalData(names, report=report)
            if path is not None:
                data = EvalData((str(path),), "the given data", report)
            return self.measure(data, measured)

    def measure(self, data: EvalData, options: EvalOptions) -> Results:
        """The figures of ``evaluate``."""
        raise InputError(f"{self.path}: a run of {self.kind.name} has no measures")

    def eval_options(self, options: Mapping[str, object]) -> EvalOptions:
        """The options of ``evaluate``.  InputError for one that the kind lacks."""
        for name in sorted((options.keys() & types_of(EvalOptions)) - {*self.kind.eval_options}):
            having = [kind.name for kind in kinds().values() if name in kind.eval_options]
            raise self.lacks(having, name)
        return make(EvalOptions, options)


def kinds_with(name: str) -> list[str]:
    """The names of the kinds whose runs have a method or attribute."""
    return [kind.name for kind in kinds().values() if hasattr(kind.run, name)]


class Summarises(Run):
    """A run that writes summaries, in ``summaries_within``."""

    def summaries(
        self,
        texts: Sequence[str],
        sentences: int | None = None,
        words: int | None = None,
        places: Sequence[str] | None = None,
        report: Callable[[str], None] = warnings.warn,
        **search: object,
    ) -> Iterator[str | InputError]:
        """The summaries of texts, in order, as they are written.

        An InputError, which is not raised, says why a text has none.  ``sentences`` and ``words``
        limit each summary.  ``report`` is called with a line about texts that are cut, because they
        are long.  ``places`` name the texts in such lines.  A run that was trained on pairs also
        has the options of :class:`minillm.runs.settings.SummarySearch`.
        """
        length = make(Length, {"sentences": sentences, "words": words})
        make(SummarySearch, search)
        places = places or [f"text {number}" for number in range(1, len(texts) + 1)]
        return self.summaries_within(length, texts, places, report, search)

    def summarise(
        self,
        texts: str | Sequence[str],
        report: Callable[[str], None] = warnings.warn,
        **options: Any,
    ) -> Any:
        """The summary of one text, or a list of summaries for a list of texts.

        It has the options of ``summaries``.  InputError for one text without a summary.  In a list,
        this is reported, and the summary is empty.

        >>> minillm.load("runs/smol").summarise(text, sentences=1)  # doctest: +SKIP
        """
        if isinstance(texts, str):
            [summary] = self.summaries([texts], report=report, **options)
            if isinstance(summary, InputError):
                raise summary
            return summary
        results = []
        for summary in self.summaries(texts, report=report, **options):
            if isinstance(summary, InputError):
                report(str(summary))
                summary = ""
            results.append(summary)
        return results
