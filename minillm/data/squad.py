"""Questions about texts: SQuAD's JSON files, versions 1.1 and 2.0.

    {"data": [{"title": ..., "paragraphs": [
        {"context": "Ada wrote it in 1843.", "qas": [
            {"id": "1", "question": "When did Ada write it?",
             "answers": [{"text": "1843", "answer_start": 16}]},
            {"id": "2", "question": "Who printed it?", "is_impossible": true, "answers": []}]}]}]}

``answer_start`` is the number of characters (Unicode code points) before the answer.  Several
answers come from several people.  In version 2.0, questions that the text does not answer are
marked as impossible.

Sources: Rajpurkar, Zhang, Lopyrev and Liang (2016), "SQuAD: 100,000+ questions for machine
comprehension of text"; Rajpurkar, Jia and Liang (2018), "Know what you don't know: unanswerable
questions for SQuAD".
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from minillm.data.files import read_json
from minillm.data.lines import checked_string
from minillm.errors import InputError, short


class Answer(NamedTuple):
    """A piece of a context: ``context[start : start + len(text)]`` is ``text``."""

    text: str
    start: int


class Question(NamedTuple):
    """A question about a context; it has no answers if the context does not answer it."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]


class QuestionData(Protocol):
    """A set of questions in three parts: "training", "validation" and "test"."""

    def questions(self, part: str) -> Sequence[Question]:
        """The questions of a part.  InputError if the set has no such part."""


class SquadFile:
    """Questions of a file; the validation questions are those of another, or of a tenth of it."""

    def __init__(self, path: str | Path, validation_path: str | Path | None = None):
        self.path = path
        questions = read_squad(path)
        if validation_path:
            self.parts = {"training": questions, "validation": read_squad(validation_path)}
            return
        contexts = {text: at for at, text in enumerate(dict.fromkeys(q.context for q in questions))}
        if len(contexts) < 10:
            raise InputError(
                f"{path}: expected 10 contexts or more, because a tenth is held out, found "
                f"{len(contexts)}"
            )
        self.parts = {"training": [], "validation": []}
        for question in questions:
            held_out = contexts[question.context] % 10 == 9
            self.parts["validation" if held_out else "training"].append(question)

    def questions(self, part: str) -> list[Question]:
        """The questions of "training" or "validation"; a file has no "test"."""
        if part not in self.parts:
            raise InputError(f"{self.path}: it has no {part} part: give the file to measure on")
        return self.parts[part]


def read_squad(path: str | Path) -> list[Question]:
    """The questions of a file.

    InputError, with the file and the place in it or the question's id, for

    - an entry that is missing or of another type,
    - two questions with the same id,
    - an impossible question with an answer, or a possible one without,
    - an answer that is not at its offset.
    """
    questions: list[Question] = []
    for a, article in enumerate(_list(read_json(path), "data", f"{path}"), start=1):
        place = f"{path}, article {a}"
        for p, paragraph in enumerate(_list(article, "paragraphs", place), start=1):
            questions += _questions(paragraph, f"{place}, paragraph {p}", str(path))
    if not questions:
        raise InputError(f"{path}: expected questions, found none")
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise InputError(
                f"{path}, question {short(question.id)}: expected an id of its own, found two "
                "questions with it"
            )
        seen.add(question.id)
    return questions


def _questions(paragraph: Any, place: str, path: str) -> list[Question]:
    """The questions about one context."""
    questions = []
    context = _text(paragraph, "context", place)
    for q, values in enumerate(_list(paragraph, "qas", place), start=1):
        id = _text(values, "id", f"{place}, question {q}")
        here = f"{path}, question {short(id)}"
        text = _text(values, "question", here)
        impossible = values.get("is_impossible", False)
        if not isinstance(impossible, bool):
            raise InputError(
                f"{here}: is_impossible: expected true or false, found {short(impossible)}"
            )
        answers = tuple(_answer(entry, context, here) for entry in _list(values, "answers", here))
        if impossible and answers:
            raise InputError(
                f"{here}: expected no answer, as it is marked as impossible, found one"
            )
        if not impossible and not answers:
            raise InputError(f"{here}: expected an answer, or is_impossible, found neither")
        questions.append(Question(id, text, context, answers))
    return questions


def _answer(values: Any, context: str, place: str) -> Answer:
    text = _text(values, "text", place)
    start = _entry(values, "answer_start", place)
    if type(start) is not int or start < 0:
        raise InputError(
            f"{place}: answer_start: expected a whole number from 0 up, found {short(start)}"
        )
    if not context.startswith(text, start):
        elsewhere = context.find(text)
        where = f"; it is at {elsewhere}" if elsewhere >= 0 else ""
        raise InputError(
            f"{place}: expected the answer {short(text)} at {start} of its context, found "
            f"{short(context[start : start + len(text)])}{where}"
        )
    return Answer(text, start)


def _list(values: Any, name: str, place: str) -> list[Any]:
    """The list of that name in an object."""
    value = _entry(values, name, place)
    if not isinstance(value, list):
        raise InputError(f"{place}: {name}: expected a list, found {short(value)}")
    return value


def _text(values: Any, name: str, place: str) -> str:
    """The text of that name in an object; InputError if it is blank or has lone surrogates."""
    value = _entry(values, name, place)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{place}: {name}: expected a text, found {short(value)}")
    return checked_string(value, f"{place}: {name}")


def _entry(values: Any, name: str, place: str) -> Any:
    if not isinstance(values, dict):
        raise InputError(f"{place}: expected an object with {name!r}, found {short(values)}")
    if name not in values:
        raise InputError(f"{place}: expected an object with {name!r}, found none of that name")
    return values[name]
