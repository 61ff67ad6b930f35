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

from pathlib import Path
from typing import Any, NamedTuple

from minillm.data.entries import entry
from minillm.data.files import read_json
from minillm.data.splits import Split
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


def open_questions(path: str | Path, validation: str | Path | None = None) -> Split[Question]:
    """Questions of a file; the validation questions come from another, or are a tenth of it."""
    questions = read_squad(path)
    if validation:
        return Split(path, {"training": questions, "validation": read_squad(validation)})
    contexts = {text: at for at, text in enumerate(dict.fromkeys(q.context for q in questions))}
    if len(contexts) < 10:
        raise InputError(
            f"{path}: expected 10 contexts or more, because a tenth is held out, found "
            f"{len(contexts)}"
        )
    parts: Split[Question] = Split(path, {"training": [], "validation": []})
    for question in questions:
        held_out = contexts[question.context] % 10 == 9
        parts["validation" if held_out else "training"].append(question)
    return parts


def read_squad(path: str | Path) -> list[Question]:
    """The questions of a file.

    InputError, with the file and the place in it or the question's id, for

    - an entry that is missing or of another type,
    - two questions with the same id,
    - an impossible question with an answer, or a possible one without,
    - an answer that is not at its offset.
    """
    questions: list[Question] = []
    for a, article in enumerate(
        entry(read_json(path, regular=False), "data", list, f"{path}"), start=1
    ):
        place = f"{path}, article {a}"
        for p, paragraph in enumerate(entry(article, "paragraphs", list, place), start=1):
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
    for q, values in enumerate(entry(paragraph, "qas", list, place), start=1):
        name = _text(values, "id", f"{place}, question {q}")
        own = f"{path}, question {short(name)}"
        text = _text(values, "question", own)
        impossible = "is_impossible" in values and entry(values, "is_impossible", bool, own)
        answers = tuple(_answer(each, context, own) for each in entry(values, "answers", list, own))
        if impossible and answers:
            raise InputError(f"{own}: expected no answer, as it is marked as impossible, found one")
        if not impossible and not answers:
            raise InputError(f"{own}: expected an answer, or is_impossible, found neither")
        questions.append(Question(name, text, context, answers))
    return questions


def _answer(values: Any, context: str, place: str) -> Answer:
    text = _text(values, "text", place)
    start = entry(values, "answer_start", int, place)
    if start < 0 or not context.startswith(text, start):
        elsewhere = context.find(text)
        where = f"; it is at {elsewhere}" if elsewhere >= 0 else ""
        raise InputError(
            f"{place}: expected the answer {short(text)} at {start} of its context, found "
            f"{short(context[start : start + len(text)])}{where}"
        )
    return Answer(text, start)


def _text(values: Any, name: str, place: str) -> str:
    """The text of that name in an object; InputError if it is blank."""
    text = entry(values, name, str, place)
    if not text.strip():
        raise InputError(f"{place}: {name}: expected a text, found {short(text)}")
    return text
