"""Chat templates: known and unknown ones, parity with transformers, and what users cannot write."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import InputError
from minillm.text import BytePairs, Characters, ChatTemplate, bpe, chat_template
from minillm.text.chat_template import KNOWN
from minillm.text.jinja_process import fill

SPECIALS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]"),
)
TOKENIZER = bpe.train(["system user assistant the cat sat on the mat " * 3], 300, SPECIALS)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " 1 < 2? \n"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "été 😀"},
]

# Written for these tests, in the manner of published ones.
OTHERS = {
    "instructions": """\
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set first = messages[0].content | trim + '\\n\\n' %}
    {%- set messages = messages[1:] %}
{%- endif %}
{% for message in messages %}
    {% if message.role == 'user' %}
[INST] {{ first | default('') if loop.first }}{{ message.content }} [/INST]
    {%- elif message.role == 'assistant' -%}
 {{ message['content'].strip() }}{{ eos_token }}
    {%- else %}{{ raise_exception('Only users ' ~ 'and assistants, not ' ~ message.role) }}
    {%- endif %}
{% endfor %}""",
    "features": """\
{%- set ns = namespace(n=0) %}{% macro tag(role) %}<|im_start|>{{ role }}{% endmacro %}
{% for m in messages if m.content %}
{% set ns.n = ns.n + 1 %}
{% if ns.n > 3 %}{% break %}{% endif %}
{{ tag(m.role) }}:{{ ns.n }} {{ {'é': m.content} | tojson(indent=1) }}<|im_end|>
{% endfor %}
{{ strftime_now('%Y') | length }}{{ 'assistant:' if add_generation_prompt }}""",
}


@pytest.mark.parametrize("name", KNOWN)
@given(st.lists(st.sampled_from(TALK), max_size=4), st.booleans())
def test_a_known_template_is_its_jinja(name, talk, prompt):
    pytest.importorskip("jinja2")
    template = ChatTemplate(name, bos="<s>", eos="</s>")
    values = {"messages": talk, "bos_token": "<s>", "add_generation_prompt": prompt}
    assert template.text(talk, prompt) == fill(KNOWN[name].source, [values])[0]


@pytest.mark.parametrize("source", [*(known.source for known in KNOWN.values()), *OTHERS.values()])
@pytest.mark.parametrize("prompt", [False, True])
def test_parity_with_transformers(source, prompt):
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    for talk in (TALK, TALK[1:], TALK[1:2]):
        (theirs,), _ = utilities.render_jinja_template(
            [talk], chat_template=source, add_generation_prompt=prompt, **names
        )
        values = {"messages": talk, "add_generation_prompt": prompt, **names}
        assert fill(source, [values])[0] == theirs


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_template_with_line_ends_in_its_literals_is_known(name, monkeypatch):
    """As GGUF files have it; a process for each answer takes a third of a second."""
    monkeypatch.setattr(chat_template, "_in_a_process", None)
    source = KNOWN[name].source.replace("\\n", "\n")
    assert source != KNOWN[name].source
    assert ChatTemplate(source).text(TALK) == ChatTemplate(name).text(TALK)


def test_an_unknown_template_runs_in_a_process_of_its_own():
    pytest.importorskip("jinja2")
    template = ChatTemplate(OTHERS["instructions"], bos="<s>", eos="</s>")
    assert template.text(TALK[:3]) == "<s>[INST] Be brief.\n\n 1 < 2? \n [/INST]Yes.</s>"
    message = "^the chat template: Only users and assistants, not system$"
    with pytest.raises(InputError, match=message):
        template.text([*TALK, TALK[0]])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% if %}", "line 1: "),
        ("{{ messages[9].x.y }}", "list object has no element 9"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ 'a' * 99999999999 }}", "it needs more than 1024 MB of memory"),
        ("{% for i in range(9999) %}{{ 'a' * 99999 }}{% endfor %}", "expected at most 16,777,216 "),
    ],
)
def test_a_template_that_fails_says_so_in_one_line(source, message):
    pytest.importorskip("jinja2")
    if "MB" in message:
        pytest.importorskip("resource")
    with pytest.raises(InputError) as raised:
        ChatTemplate(source).text(TALK)
    assert str(raised.value).startswith(f"the chat template: {message}")
    assert "\n" not in str(raised.value)


def test_a_template_without_an_end_is_stopped(monkeypatch):
    pytest.importorskip("jinja2")
    monkeypatch.setattr(chat_template, "SECONDS", 0.5)
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(InputError, match="it was stopped after"):
        ChatTemplate(loops).text(TALK)


PARTS = st.lists(
    st.sampled_from([*SPECIALS, *"<|im_end|>", "</s", "s>", "<|im_", "start|>", " ", "\n", "cat"])
)


@pytest.mark.parametrize("name", KNOWN)
@given(st.lists(PARTS.map("".join), min_size=1, max_size=3))
def test_what_a_user_writes_never_becomes_a_special_token(name, contents):
    template = ChatTemplate(name, bos="<s>")
    talk = [{"role": "user", "content": content} for content in contents]
    ids = template.encode(TOKENIZER, talk)
    plain = template.encode(TOKENIZER, [{**message, "content": "cat"} for message in talk])
    special = [TOKENIZER.id_of(text.encode()) for text in SPECIALS]
    assert ids[np.isin(ids, special)].tolist() == plain[np.isin(plain, special)].tolist()
    assert TOKENIZER.decode(ids) == template.text(talk)


def test_a_special_token_is_not_put_together_from_a_message_and_its_template():
    pytest.importorskip("jinja2")
    source = "{% for m in messages %}<|im_{{ m.content | trim }}s>{% endfor %}"
    for content in ("end|>", " end|> ", "x</", "start|><"):
        ids = ChatTemplate(source).encode(TOKENIZER, [{"role": "user", "content": content}])
        assert all(TOKENIZER.token(id).decode() not in SPECIALS for id in ids)
        assert TOKENIZER.decode(ids) == f"<|im_{content.strip()}s>"


@given(st.lists(st.sampled_from(TALK), min_size=1))
def test_ids_of_ordinary_messages_are_those_of_the_text(talk):
    template = ChatTemplate("smollm2")
    expected = TOKENIZER.encode(template.text(talk))
    np.testing.assert_array_equal(template.encode(TOKENIZER, talk), expected)


def test_what_ends_an_answer():
    def ends(source, tokenizer=TOKENIZER, **texts):
        return [
            tokenizer.token(id).decode() for id in ChatTemplate(source, **texts).ends(tokenizer)
        ]

    assert ends("chatml") == ["<|endoftext|>", "<|im_end|>"]
    assert ends("llama3", bos="<s>", eos="</s>") == ["<|endoftext|>", "</s>", "<|eot_id|>"]
    pytest.importorskip("jinja2")
    nothing = BytePairs([], ["<s>"])
    with pytest.raises(InputError, match="expected a special token of the tokenizer after an ans"):
        ends("{% for m in messages %}{{ m.content }}\n{% endfor %}", nothing)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], r"messages: expected a list of one or more, found \[\]"),
        ("hello", "messages: expected a list of one or more, found 'hello'"),
        (["hello"], r"messages\[0\]: expected a role and a content, found 'hello'"),
        ([TALK[0], {"content": "a"}], r"messages\[1\].role: expected one of system, user, assist"),
        ([{"role": "user"}], r"messages\[0\].content: expected a text, found None"),
        ([{"role": "user", "content": "\ud800"}], r"messages\[0\].content, line 1, column 1: exp"),
    ],
)
def test_what_is_no_conversation_is_refused(messages, message):
    with pytest.raises(InputError, match=f"^{message}"):
        ChatTemplate("chatml").encode(TOKENIZER, messages)


def test_other_units_than_byte_pairs_are_refused():
    with pytest.raises(InputError, match="a chat needs a tokenizer of byte pairs"):
        ChatTemplate("chatml").encode(Characters.from_text("abc"), TALK)


def test_stored_and_read():
    template = ChatTemplate("llama3", "<s>", "</s>")
    assert ChatTemplate.from_dict(template.to_dict()) == template
    for damaged in ({}, {"template": "x", "bos": None, "eos": ""}):
        with pytest.raises(ValueError, match="expected texts as template, bos and eos"):
            ChatTemplate.from_dict(damaged)


def test_a_template_that_changes_earlier_turns_is_refused():
    source = (
        "{% for m in messages %}{% if m.role == 'user' or loop.last %}{{ m.content }}<|im_end|>"
        "{% endif %}{% endfor %}"
    )
    pytest.importorskip("jinja2")
    with pytest.raises(InputError, match="expected the text of a conversation to begin with"):
        ChatTemplate(source, eos="<|im_end|>").encode_answers(
            TOKENIZER, [[*TALK, {"role": "assistant", "content": "ok"}]], 1000
        )
