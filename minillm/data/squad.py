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

from msgspec import Struct, field

from minillm.data.files import read_json
from minillm.data.splits import Split
from minillm.errors import InputError, short


class Answer(Struct, frozen=True):
    """A piece of a context: ``context[start : start + len(text)]`` is ``text``."""

    text: str
    start: int = field(name="answer_start")


class Question(Struct):
    """A question about a context; it has no answers if the context does not answer it."""

    id: str
    question: str
    context: str = ""  # in a file, it stands once for all questions about it
    answers: tuple[Answer, ...] = ()
    is_impossible: bool = False


class Paragraph(Struct):
    """A context in a file, and the questions about it."""

    context: str
    qas: list[Question]


class Article(Struct):
    """The paragraphs of an article."""

    paragraphs: list[Paragraph]


class File(Struct):
    """The articles of a file."""

    data: list[Article]


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

    InputError, with the file and the place in it or the question's id, for an entry that is missing
    or of another type, a question without a text, two questions of one id, an answer that is not
    where it is said to be, or a question with answers that is marked as impossible, or the reverse.
    """
    articles = read_json(path, kind=File, strict=True).data
    questions: dict[str, Question] = {}
    for paragraph in (paragraph for article in articles for paragraph in article.paragraphs):
        for question in paragraph.qas:
            place, question.context = f"{path}, question {short(question.id)}", paragraph.context
            _check(question, place)
            if question.id in questions:
                raise InputError(f"{place}: expected an id of its own, found two questions with it")
            questions[question.id] = question
    if not questions:
        raise InputError(f"{path}: expected questions, found none")
    return list(questions.values())


def _check(question: Question, place: str) -> None:
    for name in ("question", "context"):
        if not (text := getattr(question, name)).strip():
            raise InputError(f"{place}: {name}: expected a text, found {short(text)}")
    if bool(question.answers) == question.is_impossible:
        found = "both" if question.answers else "neither"
        raise InputError(f"{place}: expected either an answer or is_impossible, found {found}")
    context = question.context
    for text, start in ((answer.text, answer.start) for answer in question.answers):
        if not text.strip() or start < 0 or not context.startswith(text, start):
            elsewhere = context.find(text)
            where = f"; it is at {elsewhere}" if elsewhere >= 0 else ""
            raise InputError(
                f"{place}: expected the answer {short(text)} at {start} of its context, found "
                f"{short(context[start : start + len(text)])}{where}"
            )
