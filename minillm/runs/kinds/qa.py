"""``qa``: answers to questions, found in a text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError
from minillm.runs.kind import Evaluation, Job, Kind, Parts, Results
from minillm.runs.embedding import frames
from minillm.runs.settings import (
    Facts,
    LoRASettings,
    TokenizerSettings,
    TrainingSettings,
    VocabularySettings,
    option,
    with_default,
)
from minillm.runs.vocabulary import vocabulary_for

if TYPE_CHECKING:
    import numpy as np

    from minillm.data.squad import Question
    from minillm.runs.folder import RunFolder
    from minillm.runs.run import Answered, Run
    from minillm.training import Summary

CANDIDATES = 20  # spans that share the probability
SHOWN = 5  # questions of a sample

RECURRENT = {"width": 128, "layers": 1, "heads": 4, "context": 384, "dropout": 0.2}
BERT = {"width": 128, "layers": 4, "heads": 4, "context": 384, "dropout": 0.1}
SIZES = ("width", "layers", "heads", "context")


@dataclass(frozen=True)
class Settings(TokenizerSettings, TrainingSettings, LoRASettings):
    """The settings of a reader."""

    data: str | None = option(
        None,
        "a JSON file in the format of SQuAD, version 1.1 or 2.0; none: the built-in set "
        "docstring-questions",
        "FILE",
        positional=True,
        data=True,
    )
    validation: str | None = option(
        None,
        "a file to measure on (default: the questions about every tenth context)",
        "FILE",
        group="the text",
        data=True,
        default_help="",
    )
    tokenizer: str | None = with_default(
        TokenizerSettings,
        "tokenizer",
        None,
        help="the pieces of a tokenizer's folder or file, or of another run: they are not learned",
    )
    vocabulary: int = with_default(
        VocabularySettings, "vocabulary", 4000, help="learn N tokens, pieces of words", least=7
    )
    stride: int = option(
        128,
        "of a context that is longer than the model's, read a window every N tokens",
        "N",
        least=1,
        most=1 << 20,
        group="the text",
    )
    longest_answer: int = option(
        64, "an answer has at most N tokens", "N", least=1, most=10_000, group="the text"
    )
    encoder: str | None = option(
        None,
        "what reads: recurrences with attention flow, or a Transformer",
        choices=("recurrent", "bert"),
        default_help="recurrent, or bert with --init",
    )
    width: int | None = option(
        None,
        "width of a token's vector; a recurrence has half of it in each direction",
        "D",
        least=2,
        most=65536,
        default_help="128",
    )
    layers: int | None = option(
        None,
        "recurrences over what has flowed together, or blocks of a Transformer",
        "L",
        least=1,
        most=1000,
        default_help="1, of bert 4",
    )
    heads: int | None = option(
        None,
        "heads of attention in each block of a Transformer",
        "N",
        least=1,
        most=65536,
        default_help="4",
    )
    context: int | None = option(
        None,
        "how many tokens the model reads at once: the question, the context and three more",
        "C",
        least=8,
        most=1 << 20,
        default_help="384, or that of --init",
    )
    dropout: float | None = option(
        None,
        "fraction of activations zeroed in training",
        "RATE",
        least=0,
        below=1,
        default_help="0.2, of bert 0.1",
    )
    learning_rate: float | None = with_default(  # type: ignore[assignment]
        TrainingSettings,
        "learning_rate",
        None,
        default_help="0.002; of bert 0.15 / width, with --init 0.04 / width",
    )
    warmup: float = with_default(TrainingSettings, "warmup", 0.1)


@dataclass(frozen=True, kw_only=True)
class QuestionFacts(Facts):
    """Those of a reader."""

    unanswered: bool = option(False, "some of its questions have no answer in their contexts")


class QuestionAnsweringKind(Kind):
    """A reader that finds the answer to a question in a text."""

    name = "qa"
    year = 2017
    help = "answers to questions, found in a text"
    description = """\
Train a reader: it predicts where in a text the answer to a question begins, and where it ends.  It
learns from questions in the format of SQuAD, whose answers are pieces of their texts or, if the
file says so, are not in them.  Without a FILE it learns from questions about functions of Python
and NumPy, which are made of templates, and whose answers are pieces of docstrings."""
    examples = """\
  minillm train qa --out runs/qa
  minillm train qa train-v2.0.json --validation dev-v2.0.json --out runs/squad --minutes 120
  minillm train qa train-v1.1.json --init runs/bert --out runs/squad2 --minutes 60

then: minillm answer DIR --context FILE "What is ... for?", minillm eval DIR [FILE]"""
    settings = Settings
    facts = QuestionFacts

    def types(self) -> tuple[type, type]:
        """The model and its config."""
        from minillm.models.reader import Reader, ReaderConfig

        return Reader, ReaderConfig

    def open_vocabulary(self, values: dict[str, Any]) -> Any:
        """The pieces, with the special tokens that frame question and context."""
        tokenizer = super().open_vocabulary(values)
        if not frames(tokenizer):
            raise ValueError("expected a vocabulary with [CLS], [SEP] and [MASK]")
        return tokenizer

    def train(self, job: Job) -> bool:
        """As any kind; the learning rate that suits depends on the encoder and its width."""
        settings = job.settings
        if settings.learning_rate is None:
            config = self._config(settings, job.data)
            rate = 0.002
            if config.encoder == "bert":
                gently = job.data.get("init") and not settings.lora_rank
                rate = (0.04 if gently else 0.15) / config.width
            job = replace(job, settings=replace(settings, learning_rate=rate))
        return super().train(job)

    def prepare(
        self, settings: Settings, data: dict[str, Any], rng: "np.random.Generator"
    ) -> Parts:
        """The pieces of the training questions, and their windows for training and validation."""
        import numpy as np

        from minillm.data import Minibatches
        from minillm.data.reading import targets_of, windows_of
        from minillm.text import build_vocabulary
        from minillm.training.minibatches import SpanTask, fingerprint

        config = self._config(settings, data)
        opened = open_data(data)
        parts = {part: opened.questions(part) for part in ("training", "validation")}
        tokenizer: Any = vocabulary_for(
            settings,
            data,
            "wordpiece",
            lambda: build_vocabulary(
                texts_of(parts["training"]), "wordpiece", 1, settings.vocabulary
            ),
        )
        if not frames(tokenizer):
            raise InputError(
                f"{data.get('init') or data.get('tokenizer')}: expected a vocabulary of unit "
                f"wordpiece, with [CLS], [SEP] and [MASK], found one of unit {tokenizer.unit}"
            )
        config = replace(config, vocabulary=len(tokenizer))

        columns, notes = {}, []
        for part, questions in parts.items():
            found = windows_of(placed(questions), tokenizer, config.context, settings.stride)
            first, last = targets_of(found, questions)
            columns[part] = (found.questions, found.contexts, first, last)
            windows = f" in {len(first):,} windows" if len(first) > len(questions) else ""
            notes.append(f"{len(questions):,} {part} questions{windows}")
        sha256 = fingerprint(columns["training"])
        if data.setdefault("sha256", sha256) != sha256:
            raise InputError(f"{name_of(data)}: the data have changed since the run was started")
        data["unanswered"] = any(not question.answers for question in parts["training"])

        Model, _ = self.types()
        model = Model(config, rng)
        training, validation = (
            Minibatches(columns[part], settings.batch, settings.seed) for part in columns
        )
        task = SpanTask(model, training, validation)
        guessing = float(np.log(columns["validation"][1].lengths - 1).mean())
        vocabularies = {"tokenizer": tokenizer}
        return Parts(model, task, "question", vocabularies, notes, baseline=guessing)

    def begin_from(self, run: "Run", given: Mapping[str, Any]) -> dict[str, Any]:
        """The sizes of a BERT, or of another reader."""
        if run.kind.name not in ("bert", self.name):
            raise InputError(
                f"--init: expected a run of bert or {self.name}, found one of {run.kind.name} in "
                f"{run.path}"
            )
        config = run.model.config
        sizes = {name: getattr(config, name) for name in SIZES}
        sizes["encoder"] = getattr(config, "encoder", "bert")
        for name, size in sizes.items():
            if given.get(name) not in (None, size):
                raise InputError(f"--{name}: {run.path} has {size}, found {given[name]}")
        if getattr(config, "segments", 2) != 2:
            raise InputError(f"{run.path}: expected 2 segments, found {config.segments}")
        return sizes

    def _config(self, settings: Settings, data: dict[str, Any]) -> Any:
        """The sizes of the model, those of ``--init`` where there is one."""
        from minillm.runs.initial import initial_run

        encoder = settings.encoder or "recurrent"
        defaults = BERT if encoder == "bert" else RECURRENT
        given = {name: getattr(settings, name) for name in defaults}
        sizes = {name: defaults[name] if x is None else x for name, x in given.items()}
        initial = initial_run(data)
        inner = initial.model.config.inner if initial else None
        return self.new_config(vocabulary=2, encoder=encoder, inner=inner, **sizes)

    def closing(self, parts: Parts, summary: "Summary") -> Iterator[str]:
        """How many of the answers are found exactly."""
        measures = parts.task.measures  # type: ignore[attr-defined]
        if measures:
            yield f"answers whose first and last token are right: {measures['exact_spans']:.1%}"

    def sample(self, folder: "RunFolder") -> Iterator[str]:
        """What the model with the best weights answers."""
        from minillm.runs.run import load

        run = load(folder.path)
        questions = open_data(run.data).questions("validation")
        yield "sample:\n\n"
        for question in questions[:: max(1, len(questions) // SHOWN)][:SHOWN]:
            [[best]] = answers_to(run, [question], 1)
            yield f"{question.question}\n    {' '.join(best.text.split()) or 'no answer'}\n"

    def answers(
        self, run: "Run", questions: Sequence[str], context: str, number: int
    ) -> "list[list[Answered]]":
        """See :meth:`minillm.runs.run.Run.answers`."""
        from minillm.data.squad import Question

        asked = [
            Question(f"{place}", question, context, ())
            for place, question in enumerate(questions, start=1)
        ]
        return answers_to(run, asked, number)

    def evaluate(self, run: "Run", asked: Evaluation) -> Results:
        """Exact match and F1 in percent, beside what counting shared words reaches."""
        import numpy as np

        from minillm.data.squad import read_squad
        from minillm.metrics import answer_exact, answer_f1, answer_of_shared_words

        if asked.files:
            name = ", ".join(asked.files)
            questions = [question for file in asked.files for question in read_squad(file)]
        else:
            part = asked.part or "validation"
            name = f"{name_of(run.data)}, {part}"
            questions = list(open_data(run.data).questions(part))
        references = [[answer.text for answer in question.answers] for question in questions]
        found = {
            "": [best.text for [best] in answers_to(run, questions, 1)],
            "shared_words_": [answer_of_shared_words(q.question, q.context) for q in questions],
        }
        results: Results = {"data": name, "questions": len(questions)}
        answered = np.array([bool(known) for known in references])
        for prefix, answers in found.items():
            pairs = list(zip(answers, references, strict=True))
            f1 = 100 * np.array([answer_f1(*pair) for pair in pairs])
            exact = 100 * np.array([answer_exact(*pair) for pair in pairs])
            results |= {f"{prefix}exact_match": exact.mean(), f"{prefix}f1": f1.mean()}
            if not answered.all() and answered.any():
                results[f"{prefix}f1_answered"] = f1[answered].mean()
                results[f"{prefix}f1_unanswered"] = f1[~answered].mean()
        return {key: float(x) if isinstance(x, np.floating) else x for key, x in results.items()}


def name_of(data: dict[str, Any]) -> str:
    """The file or the built-in set."""
    from minillm.data.registry import DEFAULT_QUESTIONS

    return data.get("data") or DEFAULT_QUESTIONS


def open_data(data: dict[str, Any]) -> Any:
    """The questions of a file, or of the built-in set."""
    from minillm.data import registry

    return registry.open_questions(name_of(data), data.get("validation"))


def texts_of(questions: "Sequence[Question]") -> Iterator[str]:
    """All contexts, each once, and all questions."""
    yield from dict.fromkeys(question.context for question in questions)
    for question in questions:
        yield question.question


def placed(questions: "Sequence[Question]") -> Iterator[tuple[str, str, str]]:
    """As :func:`minillm.data.reading.windows_of` takes them."""
    for question in questions:
        yield f"question {question.id}", question.question, question.context


def answers_to(run: "Run", questions: "Sequence[Question]", number: int) -> "list[list[Answered]]":
    """The best ``number`` answers to each question, the best first.

    The probabilities are a softmax over the scores of the best spans and, if the model has
    learned that there may be no answer, of none: its score is 0.
    """
    import numpy as np

    from minillm import ops
    from minillm.data.reading import text_span, windows_of
    from minillm.decoding.spans import find_spans
    from minillm.runs.run import Answered

    settings, context = run.settings, run.model.config.context
    windows = windows_of(placed(questions), run.tokenizer, context, settings.stride)
    spans = find_spans(run.model, windows, settings.longest_answer, max(number, CANDIDATES))
    answers = []
    for question, offsets, of_question in zip(questions, windows.offsets, spans, strict=True):
        text = question.context
        places = [text_span(text, offsets, *span) for span, _ in of_question]
        found: list[tuple[float, tuple[str, int | None, int | None]]] = [
            (score, (text[start:end], start, end))
            for (_, score), (start, end) in zip(of_question, places, strict=True)
        ]
        if run.data.get("unanswered"):
            found.append((0.0, ("", None, None)))
            found.sort(key=lambda entry: -entry[0])
        probabilities, _ = ops.softmax(np.array([score for score, _ in found]))
        answers.append(
            [
                Answered(answer, float(p), start, end)
                for p, (_, (answer, start, end)) in zip(probabilities, found, strict=True)
            ][:number]
        )
    return answers
