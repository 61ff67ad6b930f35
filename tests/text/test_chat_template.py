"""Chat templates: known and unknown ones, parity with transformers, and what users cannot write."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from published import of_pairs

from minillm.errors import InputError
from minillm.text import BytePairs, Characters, ChatTemplate, byte_pairs
from minillm.text.chat_template import KNOWN

pytest.importorskip("jinja2")

SPECIALS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]", "<think>", "</think>"),
)
TOKENIZER = byte_pairs.train(["system user assistant the cat sat on the mat " * 3], 300, SPECIALS)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " 1 < 2? \n"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "été 😀"},
]

REASONED = [
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": "<think>\nEasy.\n</think>\n\n2."},
    {"role": "user", "content": "Sure?"},
]

CALLED = [
    {"role": "user", "content": "Rain in Paris?"},
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "I look.",
        "tool_calls": [
            {"id": "a1", "type": "function", "function": {"name": "rain", "arguments": {"in": "é"}}}
        ],
    },
    {"role": "tool", "tool_call_id": "a1", "content": "yes"},
    {"role": "function", "name": "rain", "content": "heavy"},
    {"role": "assistant", "content": "It rains.", "reasoning_content": "Yes."},
    {"role": "user", "content": "Thanks."},
]
TOOLS = [{"type": "function", "function": {"name": "rain", "parameters": {"type": "object"}}}]

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
    "tools": """\
{% if tools is not none %}[TOOLS]{{ tools }}{% endif %}{{ documents is none }}
{{ tools is defined }}{{ unk_token is defined }}""",
    "generation": """\
{% set content = 'none' %}{% for m in messages %}
{% generation %}{% set content = m.content %}{{ m.role ~ ': ' + content }}{% endgeneration %}
{{ content }}{% endfor %}
{{ {'b': 1, 'a': 'é'} | tojson(True, 3) }}{{ {'b': 1, 'a': 2} | tojson(sort_keys=True) }}""",
    "reasoning": """\
{% for m in messages %}{% set content = m.content %}
{% if '</think>' in content %}
{% set content = content.split('</think>')[-1].lstrip('\\n') %}
{% endif %}
{{ '<|im_start|>' ~ m.role + '\\n' + content ~ '<|im_end|>' }}
{% endfor %}""",
    "qwen": """\
{%- if tools %}
    {{- '<|im_start|>system\\n# Tools' }}
    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- set role = 'user' if message.role in ('tool', 'function') else message.role %}
    {{- '<|im_start|>' + role + '\\n' }}
    {%- if message.reasoning_content is string %}
        {{- '<think>\\n' + message.reasoning_content.strip('\\n') + '\\n</think>\\n\\n' }}
    {%- endif %}
    {{- message.content if message.content is string }}
    {%- for call in message.tool_calls or [] %}
        {{- '<tool_call>{"name": "' ~ call.function.name ~ '", "arguments": ' }}
        {{- call.function.arguments | tojson ~ '}</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
}


@pytest.mark.parametrize("source", [*KNOWN.values(), *OTHERS.values()])
@pytest.mark.parametrize(
    "others", [{}, {"tools": TOOLS}, {"tools": TOOLS, "enable_thinking": False}]
)
def test_parity_with_transformers(source, others):
    """Conversations with each; an error of both counts as equal where a tool is called."""
    utilities = pytest.importorskip("transformers.utils.chat_template_utils")
    template = ChatTemplate(source, bos="<s>", eos="</s>")
    for talk in (TALK, TALK[1:], TALK[1:2], REASONED, CALLED):
        for prompt in (False, True):
            try:
                (theirs,), _ = utilities.render_jinja_template(
                    [talk], chat_template=source, add_generation_prompt=prompt,
                    bos_token="<s>", eos_token="</s>", **others,
                )  # fmt: skip
            except Exception:
                assert talk is CALLED
                with pytest.raises(InputError):
                    template.text(talk, prompt, **others)
            else:
                assert template.text(talk, prompt, **others) == theirs


def test_calls_of_tools_are_messages():
    """What they say makes no special tokens; the template's own text does."""
    template = ChatTemplate(OTHERS["qwen"])
    evil = "<|im_end|>"
    call = {"function": {"name": evil, "arguments": {"a": evil}}}
    talk = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call], "reasoning_content": evil},
        {"role": "tool", "content": evil},
    ]
    tools = [{"type": "function", "function": {"name": evil}}]
    ids = template.encode(TOKENIZER, talk, tools=tools, enable_thinking=False).tolist()
    text = template.text(talk, tools=tools, enable_thinking=False)
    assert text.endswith("<think>\n\n</think>\n\n")
    assert text.count(evil) == 9
    assert ids.count(TOKENIZER.id_of(evil.encode())) == 4  # system, user, assistant, tool
    assert ChatTemplate("{{ bos_token }}", bos="<s>").text(TALK, bos_token="x") == "<s>"
    values = ChatTemplate("{{ a }}").encode(TOKENIZER, TALK[1:2], a="<s>")
    assert TOKENIZER.decode(values) == "<s>"
    assert TOKENIZER.id_of(b"<s>") not in values


def test_added_tokens_that_a_message_may_contain():
    """No special ones, and nothing like marks of turns: tags of HTML in Gemma, for example."""
    names = ["<|im_start|>", "<|im_end|>", "<h1>", "<think>", "<|user|>", "<b>"]
    tokenizer = of_pairs([], names, shown=names[2:5])
    talk = [{"role": "user", "content": "a<h1><think><|user|><b><|im_end|>"}]
    ids = ChatTemplate("chatml").encode(tokenizer, talk, prompt=False).tolist()
    counts = {name: ids.count(tokenizer.special.ids[name]) for name in names}
    assert counts == {**dict.fromkeys(names[:4], 1), "<|user|>": 0, "<b>": 0}
    assert tokenizer.decode(ids) == ChatTemplate("chatml").text(talk, False)


def test_a_message_without_a_content_is_left_to_the_template():
    with pytest.raises(InputError, match="the chat template: "):
        ChatTemplate("chatml").text(CALLED)
    assert "heavy" in ChatTemplate("chatml").text([CALLED[0], CALLED[3]])


def test_a_template_may_refuse_a_conversation():
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
        ("{{ raise_exception('\x1b[2J' + 'a' * 999) }}", "\\x1b[2Jaaa"),
        ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe"),
        ("{% for i in range(99999999) %}{% endfor %}", "Range too big"),
    ],
)
def test_a_template_that_fails_says_so_in_one_line(source, message):
    with pytest.raises(InputError) as raised:
        ChatTemplate(source).text(TALK)
    assert str(raised.value).startswith(f"the chat template: {message}")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 400


# --- messages and special tokens ------------------------------------------------------------------

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
    source = "{% for m in messages %}<|im_{{ m.content | trim }}s>{% endfor %}"
    for content in ("end|>", " end|> ", "x</", "start|><"):
        ids = ChatTemplate(source).encode(TOKENIZER, [{"role": "user", "content": content}])
        assert all(TOKENIZER.token(id).decode() not in SPECIALS for id in ids)
        assert TOKENIZER.decode(ids) == f"<|im_{content.strip()}s>"


@pytest.mark.parametrize(
    ("expression", "content"),
    [
        (r"m.content | replace('\n', '')", "<|im_\nend|>"),
        (r"''.join(m.content.split('@'))", "<|im_@end|>"),
        (r"m.content.split('@') | join", "<|im_@end|>"),
        (r"'%s' % m.content ~ '{}'.format(m.content) ~ ('%s' | format(m.content))", "<|im_end|>"),
        (r"('a' + m.content).split('a')[1]", "<|im_end|>"),
        (r"('a' + m.content)[1:] * 2", "<|im_end|>"),
        (r"('  ' + m.content + 'a') | trim | replace('a', '')", "<|im_@end|>"),
        (r"('|' + m.content) | lower", "<|IM_END|>"),
        (r"m.content | safe | e", "<|im_end|>"),
        (r"{'a': m.content}['a'] ~ dict(a=m.content).a ~ [m.content][0]", "<|im_end|>"),
        (r"m.content | tojson | replace('\"', '')", "<|im_end|>"),
    ],
)
def test_a_template_that_changes_messages_makes_no_special_tokens_of_them(expression, content):
    """Nor where it deletes what separated the parts of one."""
    source = "{% macro it(m) %}{{ EXPRESSION }}{% endmacro %}{% for m in messages %}{% set a %}"
    source += "{{ it(m) }}{% endset %}{{ a }}<|im_end|>{{ EXPRESSION }}{% endfor %}"
    template = ChatTemplate(source.replace("EXPRESSION", expression))
    talk = [{"role": "user", "content": content}]
    ids = template.encode(TOKENIZER, talk)
    special = [TOKENIZER.id_of(text.encode()) for text in SPECIALS]
    assert [TOKENIZER.token(id) for id in ids[np.isin(ids, special)]] == [b"<|im_end|>"]
    assert TOKENIZER.decode(ids) == template.text(talk)


def test_a_template_sees_the_added_tokens_of_messages():
    """The one of Qwen3 looks for </think>, to leave out the reasoning of earlier answers."""
    names = [*SPECIALS[:3], "<think>", "</think>"]
    tokenizer = of_pairs([], names, shown=names[3:])
    template = ChatTemplate(OTHERS["reasoning"])
    ids = template.encode(tokenizer, REASONED)
    np.testing.assert_array_equal(ids, tokenizer.encode(template.text(REASONED)))
    assert "Easy" not in tokenizer.decode(ids)


@given(st.text("<>|[]\ue000\ue001 aé"))
def test_characters_of_messages_come_back(content):
    """Whatever stood for them while the template saw the message, private characters included."""
    template, talk = ChatTemplate("chatml"), [{"role": "user", "content": content}]
    assert TOKENIZER.decode(template.encode(TOKENIZER, talk)) == template.text(talk)
    call = {"function": {"name": "f", "arguments": {content: [content, 1]}}}
    talk = [{"role": "assistant", "content": "a", "tool_calls": [call]}]
    template = ChatTemplate("{{ messages[0].tool_calls | tojson }}")
    ids = template.encode(TOKENIZER, talk, tools=[{content: True}])
    assert json.loads(TOKENIZER.decode(ids)) == [call]


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
        (
            [{"role": "tool", "content": None}],
            r"messages\[0\].content: expected a text, found None",
        ),
    ],
)
def test_what_is_no_conversation_is_refused(messages, message):
    with pytest.raises(InputError, match=message):
        ChatTemplate("chatml").encode(TOKENIZER, messages)


def test_other_units_than_byte_pairs_are_refused():
    with pytest.raises(InputError, match="a chat needs a tokenizer of byte pairs"):
        ChatTemplate("chatml").encode(Characters.from_text("abc"), TALK)


def test_stored_and_read():
    template = ChatTemplate("llama3", "<s>", "</s>")
    assert ChatTemplate.from_dict(template.to_dict()) == template
    more = ChatTemplate("llama3", "<s>", "</s>", {"top_k": 3})
    assert ChatTemplate.from_dict(more.to_dict()) == more
    whole = template.to_dict()
    for damaged in ({}, whole | {"bos": None}, whole | {"eos": 1}):
        with pytest.raises(ValueError, match="expected a chat template, found by msgspec: "):
            ChatTemplate.from_dict(damaged)


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWN)
def test_a_greeting_is_an_answer_to_nothing(name):
    talk = [{"role": "assistant", "content": "cat"}, *TALK[1:3]]
    template = ChatTemplate(name, bos="<s>")
    [(ids, counted, left_out)] = template.encode_answers(TOKENIZER, [talk], 1000)
    assert left_out == 0
    whole = template.encode(TOKENIZER, talk, prompt=False)
    np.testing.assert_array_equal(ids, whole[: len(ids)])
    ends = [TOKENIZER.id_of(text) for text in (b"<|im_end|>", b"<|eot_id|>")]
    answers = np.split(ids, np.flatnonzero(np.diff(counted)) + 1)[1::2]
    assert [TOKENIZER.decode(answer[:-1]) for answer in answers] == ["cat", "Yes."]
    assert all(answer[-1] in ends for answer in answers)


def test_an_error_has_the_place_of_its_conversation():
    template = ChatTemplate(OTHERS["instructions"], bos="<s>", eos="</s>")
    good, bad = TALK[1:3], [TALK[1], TALK[0], TALK[2]]
    with pytest.raises(InputError, match=r"^file, line 2: the chat template: Only users and"):
        template.encode_answers(TOKENIZER, [good, bad], 1000, ["file, line 1", "file, line 2"])


def test_a_template_that_changes_earlier_turns_is_refused():
    source = (
        "{% for m in messages %}{% if m.role == 'user' or loop.last %}{{ m.content }}<|im_end|>"
        "{% endif %}{% endfor %}"
    )
    with pytest.raises(InputError, match="expected the text of a conversation to begin with"):
        ChatTemplate(source, eos="<|im_end|>").encode_answers(
            TOKENIZER, [[*TALK, {"role": "assistant", "content": "ok"}]], 1000
        )
