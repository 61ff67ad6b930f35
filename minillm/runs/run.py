"""A run: a trained model and everything that belongs to it; ``minillm.load(folder)`` opens one."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from minillm.decoding import Chat, Reader, Sampling
from minillm.decoding.causal import CausalReader
from minillm.decoding.summaries import Length
from minillm.errors import InputError
from minillm.formats.format import Contents, Format, Updates, formats
from minillm.look.inside import Inside
from minillm.look.page import Page
from minillm.models.vectors import Vectors
from minillm.option import check_names, make, types_of
from minillm.runs.additions import updates_of
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Data, Given, Kind, Results, Vocabularies, kinds
from minillm.runs.python_data import named_as, python_data
from minillm.runs.settings import Evaluation, SummarySearch
from minillm.text import ChatTemplate, Vocabulary
from minillm.text.chat_template import KNOWN, Message


class Classified(NamedTuple):
    """The predicted label of one text or image."""

    label: str
    probability: float
    probabilities: dict[str, float]  # of every label, the most probable first


class Answered(NamedTuple):
    """An answer that is a part of a context: ``context[start:end]`` is ``text``.

    If the context has no answer, ``text`` is empty, and start and end are None.
    """

    text: str
    probability: float  # among the best candidates
    start: int | None
    end: int | None


class Run:
    """A model, its vocabularies and its settings.

    ``model``; ``tokenizer``, or ``source`` and ``target`` of an encoder-decoder; ``settings``;
    ``data``: the paths of the data, and facts about them; ``kind``, ``folder``.

    What a run is able to do depends on its kind, which has methods that receive the run, then the
    arguments of the method here.  For one that its kind lacks, InputError names the kinds that have
    it.  One text gets one answer, a list of texts a list of answers.
    """

    tokenizer: Vocabulary
    source: Vocabulary
    target: Vocabulary

    def __init__(
        self,
        kind: Any,  # a Kind with the methods that its runs need
        folder: RunFolder,
        model: Any,
        vocabularies: Vocabularies,
        settings: Any,
        data: Data,
    ):
        self.kind, self.folder, self.model = kind, folder, model
        self.settings, self.data = settings, data
        self.vocabularies = vocabularies
        for name, vocabulary in vocabularies.items():
            setattr(self, name, vocabulary)

    @property
    def path(self) -> Path:
        """The path of its folder."""
        return self.folder.path

    @property
    def config(self) -> Any:
        """The sizes of its model."""
        return self.model.config

    def __repr__(self) -> str:
        return f"<run of {self.kind.name} in {self.path}: {self.model!r}>"

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Copy the run to another folder.

        InputError if that already has a run, unless ``overwrite``.
        """
        folder = RunFolder(path)
        with folder.held():
            folder.check_free(overwrite)
            self.folder.copy_to(folder)

    def write(
        self,
        prompt: str = "",
        length: int = 500,
        stop: Sequence[str] = (),
        adapt: bool = False,
        **sampling: object,
    ) -> Iterator[str]:
        """The prompt and its continuation, piece by piece as it is drawn.

        ``length`` counts tokens.  The text ends before a token in ``stop``.  A model that was
        trained on documents may also end it.  With ``adapt``, a copy of the model learns the prompt
        first: see :mod:`minillm.training.dynamic_evaluation`.  The other arguments, such as
        ``temperature`` and ``seed``, are the fields of :class:`minillm.decoding.Sampling`.

        >>> run = minillm.load("runs/first")  # doctest: +SKIP
        >>> "".join(run.write("The ", length=200, seed=1))  # doctest: +SKIP
        """
        write = self._ability("write")
        check_names(sampling, [*types_of(Sampling), "length", "stop", "adapt"])
        options = make(Sampling, sampling)
        return write(self._adapted(prompt) if adapt else self, prompt, length, options, stop)

    def _adapted(self, prompt: str) -> "Run":
        """This run with a model that has learned a prompt."""
        adapted = self._ability("adapted", "adapt: ")
        ids = self.tokenizer.opened(self.tokenizer.encode_known(prompt, "prompt"))
        if len(ids) < 2:
            raise InputError(f"expected a prompt of 2 tokens or more, found {len(ids)}", "adapt")
        run = copy(self)
        run.model = adapted(self, ids).model
        return run

    def generate(self, prompt: str = "", **options: Any) -> str:
        """The prompt and its continuation as one text; it has the options of ``write``.

        >>> minillm.load("runs/first").generate("The ", length=200, seed=1)  # doctest: +SKIP
        """
        return "".join(self.write(prompt, **options))

    def chat(
        self,
        messages: Sequence[Message],
        length: int | None = None,
        report: Callable[[str], None] = warnings.warn,
        schema: object = None,
        **sampling: object,
    ) -> Iterator[str]:
        """The answer to a conversation, piece by piece as it is drawn.

        Each message has a "role" ("system", "user" or "assistant") and a "content".  ``length``
        counts tokens; None: as many as fit the context.  The oldest turns are left out if not all
        fit it, and ``report`` is called with a line about it.  With a ``schema``, the answer is
        JSON that satisfies it: see :mod:`minillm.decoding.grammar`.  The other arguments are
        the fields of :class:`minillm.decoding.Sampling`; the defaults come from the model's files,
        or from :class:`minillm.decoding.ChatSampling`.

        >>> run = minillm.load("runs/smol")  # doctest: +SKIP
        >>> "".join(run.chat([{"role": "user", "content": "Who are you?"}]))  # doctest: +SKIP
        """
        chat = self.answering
        check_names(sampling, [*types_of(Sampling), "length", "schema"])
        grammar = None if schema is None else chat.grammar(schema)
        return chat.answer(messages, length, chat.sampling_with(**sampling), report, grammar)

    @cached_property
    def reader(self) -> Any:
        """The reader of the model: see :class:`minillm.decoding.Reader`."""
        return Reader(self.model)

    @cached_property
    def answering(self) -> Chat:
        """The model with its tokenizer and its chat template, and the cache of a conversation."""
        return self.answering_in(None)

    def answering_in(self, template: str | None) -> Chat:
        """Like ``answering``, with one of the known templates in the place of the run's own.

        InputError for a model that cannot answer, and for a run without a template.
        """
        if not isinstance(self.reader, CausalReader):
            raise InputError(
                f"{self._place('config.json')}expected a run of a Transformer that writes, such as "
                f"a gpt, found {self.kind.name!r}"
            )
        stored = self.chat_template()
        if template is not None:
            stored = replace(stored, source=template) if stored else ChatTemplate(template)
        if stored is None:
            raise InputError(
                f"{self._place()}the run has no chat template: expected one of "
                f"{', '.join(KNOWN)} as the template"
            )
        return Chat(self.reader, self.tokenizer, stored)  # type: ignore[arg-type]

    def chat_template(self) -> ChatTemplate | None:
        """The run's own chat template, if it has one.  InputError if its file is damaged."""
        if not self.folder.has("chat.json"):
            return None
        values = self.folder.load_json("chat.json")
        place = f"{self.path / 'chat.json'}: it is damaged: "
        try:
            template = ChatTemplate.from_dict(values)
        except ValueError as error:
            raise InputError(f"{place}{error}") from None
        make(Sampling, template.sampling, f"{place}sampling: ")
        return template

    def translate(self, texts: str | Sequence[str], **options: Any) -> Any:
        """The best output for one text, or a list of outputs for a list of texts.

        It has the options of ``hypotheses``.

        >>> minillm.load("runs/mt").translate("a man .", beam=5, no_repeat=3)  # doctest: +SKIP
        """
        if isinstance(texts, str):
            return self.translate([texts], **options)[0]
        return [best[0].text for best in self.hypotheses(texts, **options)]

    def hypotheses(self, texts: str | Sequence[str], **options: Any) -> Any:
        """The outputs for each text, best first, with scores and attention weights.

        For one text, it is a list of :class:`minillm.decoding.Translation`; for a list of texts, a
        list of lists.  See :meth:`minillm.decoding.Translator.translate` for the options.
        """
        if isinstance(texts, str):
            return self.hypotheses([texts], **options)[0]
        hypotheses = self._ability("hypotheses")
        return hypotheses(self, texts, **options) if len(texts) else []

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

    def summaries(
        self,
        texts: Sequence[str],
        sentences: int | None = None,
        words: int | None = None,
        places: Sequence[str] | None = None,
        report: Callable[[str], None] = warnings.warn,
        **search: Any,
    ) -> Iterator[str | InputError]:
        """The summaries of texts, in order, as they are written.

        An InputError, which is not raised, says why a text has none.  ``sentences`` and ``words``
        limit each summary.  A run that was trained on pairs also has the options of
        :class:`minillm.runs.settings.SummarySearch`.  A chat model is asked for a summary, and a
        text that exceeds its context is summarised in parts: see
        :mod:`minillm.decoding.summaries`.  ``report`` is called with a line about such a text.
        ``places`` name the texts in these lines.
        """
        summaries = self._ability("summaries")
        make(SummarySearch, search)
        length = make(Length, {"sentences": sentences, "words": words})
        places = places or [f"text {number + 1}" for number in range(len(texts))]
        return summaries(self, texts, places, length, report, **search)

    def look(self, text: Any, beside: "Run | None" = None, target: str | None = None) -> Any:
        """A page that shows what the model does with a text: see :mod:`minillm.look`.

        A notebook shows it; ``save(file)`` writes it, and ``inside`` has its numbers.  ``beside``
        is another run, whose predictions of the same text, or of the same output, are set beside
        these.  A network that was trained on text has the best n-gram of that text beside it by
        default, and the page shows the passages that occur in that text.  ``target`` is the output
        of a translator to look at; by default it is its own.

        >>> minillm.load("runs/first").look("The while statement")  # doctest: +SKIP
        """
        if not isinstance(text, str):
            return [self.look(one, beside, target) for one in text]
        if target is None and beside is not None and "target" in self.vocabularies:
            target = self.translate(text)
        inside = self.inside(text, target)
        if self.has("with_sources"):
            inside = self._ability("with_sources")(self, text, inside)
        if beside is None:
            simple = self._ability("look_beside")(self, text) if self.has("look_beside") else None
            return Page(inside, simple)
        return Page(
            inside, beside.inside(text, target if "target" in beside.vocabularies else None)
        )

    def inside(self, text: str, target: str | None = None) -> Inside:
        """The arrays that ``look`` shows of a text, with nothing beside them."""
        look = self._ability("look")
        if target is None:
            return look(self, text)
        if "target" not in self.vocabularies:
            raise InputError(
                f"expected a run of a translator with it, found {self.kind.name!r}", "target"
            )
        return look(self, text, target=target)

    def classify(self, items: Any, places: Sequence[str] | None = None) -> Any:
        """The label of each text, or of each image (its pixels, 0 to 1), as Classified.

        ``places`` name the items in error messages.
        """
        if isinstance(items, str) or getattr(items, "ndim", 2) == 1:
            return self.classify([items], places)[0]
        classify = self._ability("classify")
        return classify(self, items, places) if len(items) else []

    def answer(self, questions: str | Sequence[str], context: str) -> Any:
        """The answer to each question, as a part of a context of any length.

        >>> run = minillm.load("runs/qa")  # doctest: +SKIP
        >>> run.answer("What is the default of end?", "say(end='.')")  # doctest: +SKIP
        """
        if isinstance(questions, str):
            return self.answer([questions], context)[0]
        return [best[0] for best in self.answers(questions, context)]

    def answers(
        self, questions: Sequence[str], context: str, number: int = 1
    ) -> list[list[Answered]]:
        """The best ``number`` answers to each question about a context, best first."""
        answers = self._ability("answers")
        return answers(self, questions, context, number) if len(questions) else []

    @property
    def vectors(self) -> Vectors:
        """The words and their vectors, with similar words, analogies and a map.

        >>> run = minillm.load("runs/w")  # doctest: +SKIP
        >>> run.vectors["class"], run.vectors.most_similar("class", topn=3)  # doctest: +SKIP
        """
        return self._ability("vectors")(self)

    def fill(self, texts: str | Sequence[str], top: int = 5) -> Any:
        """For each [MASK] in a text the ``top`` most probable tokens and probabilities.

        Each [MASK] is filled in independently.

        >>> minillm.load("runs/bert").fill("the [MASK] statement")  # doctest: +SKIP
        """
        fill = self._ability("fill")
        if isinstance(texts, str):
            return fill(self, texts, top)
        return [fill(self, text, top) for text in texts]

    def embed(self, texts: str | Sequence[str | NDArray], pooling: str | None = None) -> NDArray:
        """The vector of one text, (D,), or of each of a list, (n, D).

        A text in a list may be given as the ids of its tokens, (T,).

        pooling: the "mean" of the tokens' vectors, the "first" one, of [CLS], or the "max" of
        each feature; None: as a sentence encoder's files say, otherwise the mean.  Only the
        beginning of a text is read if it is longer than the model's context, or than the limit in
        those files.
        """
        embed = self._ability("embed")
        return (
            embed(self, [texts], pooling)[0]
            if isinstance(texts, str)
            else embed(self, texts, pooling)
        )

    def export(
        self,
        file: str | Path | None = None,
        format: str | None = None,  # noqa: A002
        **options: object,
    ) -> str | Path:
        """Write the model in a format that other programs read, and return the path.

        ``format`` is the name of one of :mod:`minillm.formats`, by default the one whose suffix
        ``file`` has, or the model's first.  ``file`` is by default in the run's folder, with the
        format's default name.  The options depend on the format, such as ``quantise``, the type
        of the weights in a GGUF file ("q8_0"; by default float32, or what they are quantised to).
        """
        chosen = self._format(file, format)
        absent = (None, False)  # as the options are by default
        given = {n: value for n, value in options.items() if not any(value is no for no in absent)}
        for name in given.keys() - types_of(chosen.options):
            having = [one.name for one in formats() if name in types_of(one.options)]
            if having:
                raise InputError(
                    f"expected the format {' or '.join(having)} with it, found {chosen.name}", name
                )
        written: Any = make(chosen.options, given)
        if file is None:
            file = self.path / chosen.default
        contents: Contents | Updates
        if chosen.updates:
            contents = updates_of(self)
        else:
            tokenizer = self.vocabularies["tokenizer"]
            contents = Contents(
                self.model, tokenizer, self.chat_template(), self.data, self.folder.model_path
            )
        chosen.write(contents, file, written)
        return file

    def _format(self, file: str | Path | None, name: str | None) -> Format:
        """The format of ``export``.  InputError for one that does not hold the model."""
        able = [one for one in formats() if one.holds(self.model)]
        if not able:
            names = [kind.name for kind in kinds().values() if _is_exported(kind)]
            raise InputError(
                f"{self._place('config.json')}expected a run of {' or '.join(names)}, "
                f"found {self.kind.name!r}"
            )
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
        are fields of the kind's ``evaluation``, such as the ``part`` of a built-in set, or ``beam``
        and ``length_exponent`` for beam search.
        """
        names = tuple(map(str, [files] if isinstance(files, str | Path) else files))
        objects = python_data(self.kind, names or None, text, sentences, texts, labels, pairs)
        measured = self._evaluation(options)
        with (
            named_as({self.path: "the run"} if self.folder.temporary else {}),
            objects.stored() if objects else nullcontext() as path,
        ):
            given = Given(names, report=report)
            if path is not None:
                given = Given((str(path),), "the given data", report)
            return self.kind.evaluate(self, given, measured)

    def _evaluation(self, options: Mapping[str, object]) -> Evaluation:
        """The options of ``evaluate``.  InputError for one that the kind lacks."""
        known = types_of(self.kind.evaluation)
        for name in options.keys() - known:
            having = [kind.name for kind in kinds().values() if name in types_of(kind.evaluation)]
            if having:
                raise InputError(
                    f"expected a run of {' or '.join(having)}, found {self.kind.name}", name
                )
        return make(self.kind.evaluation, options)

    def has(self, ability: str) -> bool:
        """Whether the kind has a method of this name, which it needs for one of these."""
        return hasattr(self.kind, ability)

    def _ability(self, name: str, place: str | None = None) -> Callable[..., Any]:
        """The kind's method of this name; InputError, which names the able kinds, without it."""
        if self.has(name):
            return getattr(self.kind, name)
        able = " or ".join(kind.name for kind in kinds().values() if hasattr(kind, name))
        place = self._place("config.json") if place is None else place
        raise InputError(f"{place}expected a run of {able}, found {self.kind.name!r}")

    def _place(self, file: str = "") -> str:
        """The beginning of a message; a run in memory has no place to name."""
        return "" if self.folder.temporary else f"{self.path / file}: "


def _is_exported(kind: Kind) -> bool:
    return any(issubclass(kind.model, one.models) for one in formats())
