"""SQuAD's JSON, both versions, malformed ones too."""

import json

import pytest

from minillm.data.squad import Answer, open_questions, read_squad
from minillm.errors import InputError

# A combining accent, an emoji beyond the first plane, one of four code points, a line's end as
# Windows has it, a tab, an ideograph: each before the answer.
HARD = "Cafe\u0301 \U0001f600\u200d\U0001f33e \U0001f468\u200d\U0001f469\r\n\t東 was found in 1843."


def squad(*contexts, **entries):
    """A file of one article, with a question for each context: the answer is its last word."""
    paragraphs = []
    for number, context in enumerate(contexts):
        answer = {"text": context.split()[-1], "answer_start": context.rindex(context.split()[-1])}
        qas = {"id": f"q{number}", "question": "When?", "answers": [answer]} | entries
        paragraphs.append({"context": context, "qas": [qas]})
    return {"version": "1.1", "data": [{"title": "x", "paragraphs": paragraphs}]}


def write(path, values):
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


@pytest.mark.parametrize("ascii", [True, False])
def test_offsets_count_code_points(tmp_path, ascii):
    """JSON may write them directly or as pairs of surrogates."""
    file = tmp_path / "squad.json"
    file.write_text(json.dumps(squad(HARD), ensure_ascii=ascii), encoding="utf-8", newline="")
    [question] = read_squad(file)
    assert question.context == HARD
    assert question.answers == (Answer("1843.", 31),)
    assert question.context[31:36] == "1843."


def test_several_answers_and_none(tmp_path):
    context = "It is so in 1843"
    answers = [{"text": "in 1843", "answer_start": 9}, {"text": "1843", "answer_start": 12}]
    qas = [
        {"id": "1", "question": "When?", "answers": answers, "is_impossible": False},
        {"id": "2", "question": "Who?", "answers": [], "is_impossible": True,
         "plausible_answers": [{"text": "It", "answer_start": 0}]},
    ]  # fmt: skip
    paragraph = {"context": context, "qas": qas}
    file = write(tmp_path / "v2.json", {"version": "v2.0", "data": [{"paragraphs": [paragraph]}]})
    one, two = read_squad(file)
    assert [answer.text for answer in one.answers] == ["in 1843", "1843"]
    assert two.answers == ()
    assert one.context == two.context == context
    write(file, squad("a b", "c d", id="same"))
    with pytest.raises(InputError, match="question 'same': expected an id of its own"):
        read_squad(file)


def changed(path, value):
    """A file with another value at a path of keys; None takes the entry away."""
    values = squad("It was in 1843.")
    place = values
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return values


PARAGRAPH = ("data", 0, "paragraphs", 0)
QUESTION = (*PARAGRAPH, "qas", 0)
ANSWER = (*QUESTION, "answers", 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("data",), None, ': data: expected a value, found None'),
        (("data",), [], ": expected questions, found none"),
        ((*PARAGRAPH, "context"), " ", ", question 'q0': context: expected a text, found ' '"),
        ((*PARAGRAPH, "context"), "a\ud800", ": expected JSON, but it is damaged: "),
        ((*QUESTION, "answers"), None, "expected either an answer or is_impossible, found neither"),
        ((*QUESTION, "is_impossible"), True, "either an answer or is_impossible, found both"),
        ((*ANSWER, "answer_start"), -5, "'1843.' at -5 of its context"),
        ((*ANSWER, "answer_start"), 14, "at 14 of its context, found '.'; it is at 10"),
        ((*ANSWER, "answer_start"), 900, "at 900 of its context, found ''; it is at 10"),
        ((*ANSWER, "text"), "1844.", "expected the answer '1844.' at 10 of its context, found"),
    ],
)  # fmt: skip
def test_errors_are_named(tmp_path, path, value, message):
    file = write(tmp_path / "squad.json", changed(path, value))
    with pytest.raises(InputError) as error:
        read_squad(file)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_every_tenth_context_is_held_out(tmp_path):
    values = squad(*(f"context number {number}" for number in range(25)))
    first = values["data"][0]["paragraphs"][9]
    first["qas"].append(first["qas"][0] | {"id": "again"})
    data = open_questions(write(tmp_path / "squad.json", values))
    validation = data["validation"]
    assert [question.id for question in validation] == ["q9", "again", "q19"]
    training = data["training"]
    assert len(training) == 23
    assert not {q.context for q in training} & {q.context for q in validation}
    with pytest.raises(InputError, match="it has no test part"):
        data["test"]
    few = write(tmp_path / "few.json", squad("one two", "three four"))
    assert len(open_questions(few, few)["validation"]) == 2
    with pytest.raises(InputError, match=r"expected 10 contexts or more, .* found 2"):
        open_questions(few)
