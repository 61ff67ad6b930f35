"""A look inside a run: its numbers are those of the model, and its page stands alone."""

import json
import os
import re
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
from browser import document, needs_chromium
from kind_rows import ROWS, TEXT

import minillm
from minillm import ops
from minillm.cli import main
from minillm.decoding import next_probabilities
from minillm.errors import InputError
from minillm.layers.heads import CAUSAL, causal, self_attention
from minillm.look.page import Page
from minillm.models import transformer
from minillm.models.teacher_forcing import teacher_forcing
from minillm.runs.kinds.ngram import best_ngram
from minillm.runs.kinds.texts import held_out_ids, training_ids

NEURAL = ["neural-ngram", "lm", "gru", "rnn", "convolution", "mamba", "gpt", "llama", "decoder"]
MASKED = ["bert", "encoder"]
TRANSLATORS = ["seq2seq", "no attention", "transformer", "joint"]


@pytest.fixture(scope="module")
def looked(runs):
    """The tiny run of each row in float64."""

    @cache
    def run_of(name):
        run = minillm.load(runs(name))
        if ROWS[name].kind != "ngram":
            run.model.params = {n: p.astype(np.float64) for n, p in run.model.params.items()}
        return run

    return run_of


def text_of(name):
    return (
        "one two" if name in TRANSLATORS else "the cat sat on" if name in MASKED else "the cat sat"
    )


def trace_of(looked, name, **options):
    return looked(name).look(text_of(name), **options).trace


# --- the numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEURAL)
def test_predictions_and_losses_of_language_models(looked, name):
    run, trace = looked(name), trace_of(looked, name)
    model, ids = run.model, run.tokenizer.encode(text_of(name))
    assert trace.tokens == [run.tokenizer.show(id) for id in ids]
    state = run.reader.zero_state(1)
    for t, id in enumerate(ids):
        logits, state = run.reader.read(np.array([[id]]), state)
        np.testing.assert_allclose(trace.probabilities[t + 1], next_probabilities(logits[0]))
    np.testing.assert_allclose(trace.probabilities[1:].sum(axis=1), 1)
    assert np.isnan(trace.probabilities[0]).all()
    assert np.isnan(trace.losses[0])
    loss, _ = model.loss((ids[None, :-1], ids[None, 1:]))
    assert trace.losses[1:].mean() == pytest.approx(loss)


@pytest.mark.parametrize("name", ["ngram", "characters"])
def test_predictions_and_contexts_of_an_ngram_model(looked, name):
    run, trace = looked(name), trace_of(looked, name)
    ids = run.tokenizer.encode(text_of(name))
    start = run.model.config.start
    log10 = run.model.probabilities(np.concatenate([[start], ids]).astype(np.int32))[1:]
    np.testing.assert_allclose(trace.losses, -log10 * np.log(10), atol=1e-4)
    np.testing.assert_allclose(trace.probabilities.sum(axis=1), 1)
    assert trace.contexts[0] in (0, 1)  # the start of the text
    assert trace.contexts[2:].tolist() == [2] * (len(ids) - 1)


def test_an_ngram_model_falls_back_to_a_shorter_context(looked):
    trace = (
        looked("characters").look("catdog").trace
    )  # "t" and "td" were never followed by "d" and "o"
    assert trace.contexts[3] == 2  # "at"
    assert trace.contexts[4] == 1  # "td" was never seen
    assert trace.losses[3] > 3


@pytest.mark.parametrize("name", ["lm", "gru", "rnn", "gpt", "llama", "decoder"])
def test_gradients_are_those_of_the_loss(looked, name):
    """In a text of distinct tokens a position has the gradient of its row of the table."""
    run, text = looked(name), "the mando"
    ids, trace, params = run.tokenizer.encode(text), run.look(text).trace, run.model.params
    assert len(set(ids)) == len(ids)
    table = "embedding.E" if "embedding.E" in params else "layers.0.W_x"
    W, b = params.get("output.W", params[table].T), params.get("output.b", 0)
    hs, backward = run.model.hidden(ids[None])
    for t in range(1, len(ids)):
        p = next_probabilities(hs[0, t - 1 : t] @ W + b)
        dhs = np.zeros_like(hs)
        dhs[0, t - 1] = (p - np.eye(len(p[0]))[ids[t]]) @ W.T
        expected = np.linalg.norm(backward(dhs)[table][ids], axis=1)
        np.testing.assert_allclose(trace.gradient[t], expected, rtol=1e-6, atol=1e-12)
    assert (trace.gradient[np.triu_indices(len(ids))] == 0).all()  # from earlier tokens only


@pytest.mark.parametrize("name", MASKED)
def test_predictions_and_gradients_of_masked_tokens(looked, name):
    run, trace = looked(name), trace_of(looked, name)
    model, tokenizer, T = run.model, run.tokenizer, len(trace.tokens)
    ids = trace.ids.copy()
    ids[[0, -1]] = [tokenizer.bos, tokenizer.eos]
    assert len(set(ids)) == T
    assert [trace.tokens[0], trace.tokens[-1]] == ["[CLS]", "[SEP]"]
    assert np.isnan(trace.losses[[0, -1]]).all()
    for place in range(1, T - 1):
        hidden = np.where(np.arange(T) == place, tokenizer.mask, ids)[None]
        x, backward = model.hidden(hidden)
        logits, words_backward = model.masked_words(x[0, place : place + 1])
        p = next_probabilities(logits[0])
        np.testing.assert_allclose(trace.probabilities[place], p)
        assert trace.losses[place] == pytest.approx(-np.log(p[ids[place]]))
        dx = np.zeros_like(x)
        dx[0, place] = words_backward((p - np.eye(len(p))[ids[place]])[None])[0]
        norms = np.linalg.norm(backward(dx)["embedding.E"][hidden[0]], axis=1)
        norms[place] = 0
        np.testing.assert_allclose(trace.gradient[place], norms, rtol=1e-6, atol=1e-12)


def test_a_gap_in_the_text_has_no_loss(looked):
    trace = looked("bert").look("the [MASK] sat").trace
    at = trace.tokens.index("[MASK]")
    assert np.isnan(trace.losses[at])
    assert trace.probabilities[at].sum() == pytest.approx(1)


def test_a_bert_without_its_head_shows_its_attention(looked, monkeypatch):
    run = looked("bert")
    monkeypatch.setattr(run.model, "config", replace(run.model.config, masked_words=False))
    page = run.look("the cat sat")
    assert np.isnan(page.trace.losses).all()
    assert page.trace.notes == ["the model has no head for masked words, so nothing is predicted"]
    assert numbers(page)["mean"] is None
    assert numbers(page)["gradient"] is None
    assert len(numbers(page)["attention"]) == 1


@pytest.mark.parametrize("name", TRANSLATORS)
def test_predictions_of_translators(looked, name):
    run, trace = looked(name), trace_of(looked, name, target="two three")
    model, source = run.model, run.source.encode("one two")
    assert trace.source == ["one", "two"]
    assert trace.tokens == ["two", "three", "(end)"]
    target = np.array([*run.target.encode("two three"), model.config.eos])
    S, T = np.array([2]), np.array([3])
    loss, _ = model.loss((source[None], S, target[None], T))
    assert trace.losses.mean() == pytest.approx(loss)
    np.testing.assert_allclose(trace.probabilities[:3].sum(axis=1), 1)


@pytest.mark.parametrize("name", ["llama", "decoder", *MASKED, *TRANSLATORS])
def test_attention_rows_sum_to_one(looked, name):
    trace = trace_of(looked, name)
    lengths = {"text": len(trace.tokens), "source": len(trace.source), "inputs": len(trace.tokens)}
    parts = {"no attention": 0, "transformer": 3, "joint": 3}
    assert len(trace.attention) == parts.get(name, 1)
    for part in trace.attention:
        np.testing.assert_allclose(part.weights.sum(axis=-1), 1)
        assert part.weights.shape[2:] == (lengths[part.queries], lengths[part.keys])
        above = np.triu_indices(lengths[part.queries], 1, lengths[part.keys])
        assert (part.weights[..., above[0], above[1]] == 0).all() == part.causal


@pytest.mark.parametrize("name", ["bert", "encoder", "transformer", "joint"])
def test_attention_is_what_the_model_uses(looked, name, monkeypatch):
    """The weights are those that the op computes in the model itself."""
    seen, original, biased = [], ops.scaled_dot_product_attention, ops.biased_attention

    def spy(q, k, v, mask):
        if len(q) == 1:
            scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
            if mask.causal:
                scores[..., np.triu(np.ones(scores.shape[-2:], bool), 1)] = -np.inf
            seen.append(ops.softmax(scores)[0][0])
        return original(q, k, v, mask=mask)

    def spy_on_biased(q, k, v, bias, lengths=None):
        seen.append(ops.softmax(q @ k.mT / np.sqrt(q.shape[-1]) + bias)[0][0])
        return biased(q, k, v, bias, lengths)

    def spied(params, prefix, x, heads, attend):
        attend = partial(spy, mask=CAUSAL) if attend is causal else attend
        return self_attention(params, prefix, x, heads, attend)

    run, trace = looked(name), trace_of(looked, name)
    monkeypatch.setattr(ops, "scaled_dot_product_attention", spy)
    monkeypatch.setattr(ops, "biased_attention", spy_on_biased)
    monkeypatch.setattr(transformer, "self_attention", spied)  # causal is bound to the original
    if name in MASKED:
        ids = trace.ids.copy()
        ids[[0, -1]] = [run.tokenizer.bos, run.tokenizer.eos]
        run.model.hidden(ids[None])
        expected = {"self-attention": seen}
    else:
        source, S = run.source.encode("one two")[None], np.array([2])
        memory, _ = run.model.encode(source, S)
        run.model.decode(teacher_forcing(trace.ids[None], run.model.config.bos), memory, S)
        expected = {
            "within the source": seen[:2],
            "within the target": seen[2::2],
            "from the target to the source": seen[3::2],
        }
    for part in trace.attention:
        np.testing.assert_allclose(part.weights, np.stack(expected[part.name]), atol=1e-12)


def before(states):
    """The state before each step: h_{t-1}, from zero."""
    return np.concatenate([np.zeros_like(states[:1]), states[:-1]])


def test_gates_obey_the_equations_of_the_cells(looked):
    run, trace = looked("lm"), trace_of(looked, "lm")
    assert len(trace.activity) == 2
    for v in trace.activity:
        np.testing.assert_allclose(v["c"], v["f"] * before(v["c"]) + v["i"] * v["g"])
        np.testing.assert_allclose(v["h"], v["o"] * np.tanh(v["c"]))
    ids = run.tokenizer.encode(text_of("lm"))
    np.testing.assert_allclose(trace.activity[1]["h"], run.model.hidden(ids[None])[0][0])
    (v,) = trace_of(looked, "gru").activity
    np.testing.assert_allclose(v["h"], (1 - v["z"]) * v["n"] + v["z"] * before(v["h"]))
    assert v["r"].shape == v["h"].shape
    (v,) = trace_of(looked, "rnn").activity
    assert list(v) == ["h"]


@pytest.mark.parametrize("name", ["lm", "characters"])
def test_a_long_text_is_read_whole_and_its_end_is_shown(looked, name):
    run, long = looked(name), "the cat sat on the mat and the dog " * 4
    trace = run.look(long).trace
    assert len(trace.tokens) == 128
    assert trace.notes == [f"the last 128 of {len(long)} characters are shown"]
    ids = run.tokenizer.encode(long)
    logits, _ = run.reader.read(ids[None], run.reader.zero_state(1))
    np.testing.assert_allclose(trace.probabilities[-1], next_probabilities(logits[0]), atol=1e-9)


@pytest.mark.parametrize("name", ["seq2seq", "transformer"])
def test_a_translator_shows_the_beginning_of_a_long_source_and_target(looked, name):
    run, long = looked(name), "one two three " * 50
    trace = run.look(long, target=long).trace
    assert (len(trace.source), len(trace.tokens)) == (128, 128)
    assert "(end)" not in trace.tokens
    assert trace.notes == [
        "the first 128 of 150 tokens of the source are read",
        "the target is the given one",
        "the first 128 of its 150 tokens are shown",
    ]
    assert run.look(long).trace.notes[1] == "the target is the model's own output"


def test_a_gpt_shows_the_last_context(looked):
    trace = looked("gpt").look("the cat sat on the mat").trace
    assert "".join(trace.tokens) == "t␣on␣the␣mat"
    assert trace.notes == ["the last 12 of 22 characters are shown"]


def test_one_token(looked):
    for name in ("ngram", "characters", *NEURAL):
        page = looked(name).look("the" if name == "ngram" else "a")
        assert len(page.trace.tokens) == 1
        assert page.trace.probabilities[1].sum() == pytest.approx(1)
    assert looked("bert").look("the").trace.tokens == ["[CLS]", "the", "[SEP]"]


# --- the page -------------------------------------------------------------------------------------


def numbers(page):
    (found,) = re.findall(r'<script type="application/json" id="numbers">(.*?)</script>', page.html)
    return json.loads(found)


@pytest.mark.parametrize("name", ["ngram", "lm", "gpt", "bert", "joint"])
def test_the_page_stands_alone(looked, name, tmp_path):
    page = looked(name).look(text_of(name))
    assert "http" not in page.html
    assert " src=" not in page.html
    assert "@import" not in page.html
    assert page.html.count("<script") == page.html.count("</script>") == 2
    values = numbers(page)
    assert values["tokens"]["text"] == page.trace.tokens
    assert len(values["predictions"]) == len(page.trace.tokens) + 1
    if name == "gpt":  # heads have an effect of 0 on the first token, which nothing predicts
        assert np.shape(values["by_head"]) == page.trace.by_head.shape
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == page.html


def test_the_page_has_the_ten_most_probable_tokens(looked):
    page = looked("lm").look("the cat")
    row, p = numbers(page)["predictions"][3], page.trace.probabilities[3]
    assert len(row["top"]) == 10
    assert row["top"][0][1] == pytest.approx(p.max(), rel=1e-3)
    assert row["p"] == pytest.approx(np.exp(-page.trace.losses[3]), rel=1e-3)
    assert row["rank"] == 1 + (p > p[page.trace.ids[3]]).sum()
    assert numbers(page)["predictions"][-1].keys() == {"top"}


def test_a_text_cannot_end_the_script(looked):
    evil = '</script><script>alert(1)</script><!-- "/*script*/ {{numbers}}'
    run = minillm.train("ngram", text=f"{evil}\n" * 30, unit="character", order=2, quiet=True)
    page = run.look(evil)
    assert page.html.count("<script") == page.html.count("</script>") == 2
    assert "".join(numbers(page)["tokens"]["text"]) == evil.replace(" ", "␣")
    word = minillm.train("ngram", text="a <b> & c\n" * 30, minimum_count=1, order=2, quiet=True)
    assert "<b>" not in word.look("<b>").html


def test_a_notebook_shows_it_in_a_frame(looked):
    page = looked("characters").look("the cat")
    frame = page._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert frame.count("<") == 2  # the frame alone
    assert 'sandbox="allow-scripts"' in frame
    assert "characters" in repr(page)


@pytest.mark.parametrize("name", ["lm", "gpt"])
def test_the_best_ngram_of_its_text_is_beside_a_network(looked, name):
    page, run = looked(name).look("the cat sat"), looked(name)
    _, best = best_ngram(training_ids(run), held_out_ids(run), run.tokenizer)
    counted = minillm.train("ngram", text=TEXT, order=best.order, unit="character", quiet=True)
    expected = counted.look("the cat sat")
    assert page.beside.tokens == page.trace.tokens
    np.testing.assert_allclose(page.beside.losses[1:], expected.trace.losses[1:], rtol=1e-6)
    assert numbers(page)["beside"]["model"] == f"n-grams of order {best.order}"


def test_a_network_whose_text_is_gone_is_looked_at_alone(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    given = {"files": tmp_path / "text.txt", "quiet": True, **ROWS["lm"].settings}
    run = minillm.train("lm", tmp_path / "run", **given)
    (tmp_path / "text.txt").unlink()
    page = run.look("the cat")
    assert page.beside is None
    assert len(page.trace.tokens) == len("the cat")


def test_two_runs_beside_each_other(looked):
    page = looked("lm").look("the cat", beside=looked("characters"))
    values = numbers(page)["beside"]
    assert values["losses"][1:] == pytest.approx(page.beside.losses[1:].tolist(), rel=1e-3)
    assert values["contexts"] == page.beside.contexts.tolist()
    assert len(values["predictions"]) == 8


def test_two_translators_beside_each_other_read_the_same_output(looked):
    page = looked("seq2seq").look("one two", beside=looked("dot"))
    assert page.trace.tokens == page.beside.tokens
    assert page.trace.tokens[-1] == "(end)"
    page = looked("seq2seq").look("one two", beside=looked("dot"), target="two")
    assert page.beside.tokens == ["two", "(end)"]


def test_a_longer_text_beside_a_gpt_is_aligned_at_the_end(looked):
    text = "the cat sat on the mat"
    for first, second in (("characters", "gpt"), ("gpt", "characters")):
        page = looked(first).look(text, beside=looked(second))
        values, count = numbers(page), len(page.trace.tokens)
        assert len(values["beside"]["losses"]) == count
        assert len(values["beside"]["predictions"]) == count + 1
        last = values["beside"]["predictions"][-1]["top"][0][1]
        assert last == pytest.approx(page.beside.probabilities[-1].max(), rel=1e-3)


def test_a_list_of_texts_gets_a_list_of_pages(looked):
    pages = looked("characters").look(["the cat", "the dog"])
    assert [len(page.trace.tokens) for page in pages] == [7, 7]
    assert all(isinstance(page, Page) for page in pages)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("lm", "", {}, "TEXT: expected one token or more, found none in ''"),
        ("lm", "été", {}, "TEXT, line 1, column 1"),
        ("seq2seq", "", {}, "TEXT: expected a text of one word or more, found none"),
        ("lm", "the", {"target": "the"}, "target: expected a run of seq2seq or summariser"),
        ("lm", "the", {"beside": "ngram"}, "beside: expected a run that splits the text"),
    ],
)
def test_bad_input(looked, name, text, options, message):
    if "beside" in options:
        options = {"beside": looked(options["beside"])}
    with pytest.raises(InputError, match=re.escape(message)):
        looked(name).look(text, **options)


def test_the_command(looked, tmp_path, capsys):
    run = tmp_path / "run"
    looked("characters").save(run)
    assert main(["look", str(run), "the cat"]) == 0
    assert capsys.readouterr().out == f"{run / 'look.html'}\n"
    assert "</html>" in (run / "look.html").read_text("utf-8")
    out = tmp_path / "page.html"
    long = "the cat " * 20
    assert main(["look", str(run), long, "--out", str(out), "--beside", str(run)]) == 0
    assert capsys.readouterr().err == "minillm: the last 128 of 160 characters are shown\n"
    assert main(["look", str(run), "", "--out", str(tmp_path / "none.html")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "none.html").exists()


def test_the_name_of_a_folder_that_is_no_utf8(looked, tmp_path):
    run, out = tmp_path / os.fsdecode(b"by\xffte"), tmp_path / "page.html"
    try:
        looked("characters").save(run)
    except OSError:
        pytest.skip("this system has no such names")
    assert main(["look", str(run), "the cat", "--out", str(out)]) == 0
    assert "A look inside by?te" in out.read_text("utf-8")


# --- in a browser ---------------------------------------------------------------------------------


@needs_chromium
@pytest.mark.parametrize(
    "name",
    ["gpt", "joint", *(pytest.param(n, marks=pytest.mark.deep) for n in ("characters", "lm"))],
)
def test_a_browser_draws_the_page_without_an_error(looked, name, tmp_path):
    page = looked(name).look(text_of(name))
    page.save(tmp_path / "page.html")
    shown = document(tmp_path / "page.html", tmp_path / "profile")
    main_part = shown.partition("<main")[2].partition("</main>")[0]
    trace = page.trace
    assert main_part.count('<button class="token') >= len(trace.tokens)
    assert main_part.count("<h2>") == (
        1
        + (trace.contexts is not None)
        + (page.beside is not None)
        + bool(trace.attention)
        + (trace.gradient is not None)
        + (trace.by_token is not None)
        + bool(trace.activity)
    )
    assert main_part.count("came</span>") + main_part.count("expected") >= 1
    heads = sum(part.weights[:, :, 0, 0].size + len(part.weights) for part in trace.attention)
    if name == "gpt":
        assert main_part.count('class="head row') == heads  # and their means


# A person steps to the next token with a key, clicks the first one, moves the mouse over the last,
# which changes nothing while a click keeps the choice, and does so again after Escape.
PERSON = """
<script>
  // The clock of the test jumps, and draws no frames.
  window.requestAnimationFrame = draw => setTimeout(draw, 16);
  const buttons = [...document.querySelector(".strip").children], last = buttons.at(-1);
  const chosen = [];
  const over = () => last.dispatchEvent(new PointerEvent("pointerenter", { pointerType: "mouse" }));
  const key = name => document.activeElement.dispatchEvent(
    new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  (async () => {
    const steps = [() => buttons[1].focus(), () => key("ArrowRight"), () => buttons[0].click(),
                   over, () => { key("Escape"); over(); }];
    for (const step of steps) {
      step();
      await new Promise(done => setTimeout(done, 50));
      chosen.push(buttons.findIndex(button => button.ariaPressed === "true"));
    }
    document.body.append(Object.assign(document.createElement("output"), { textContent: chosen }));
  })();
</script>
</body>
"""


@pytest.mark.deep
@needs_chromium
def test_a_person_chooses_a_token(looked, tmp_path):
    page = looked("gpt").look(text_of("gpt"))
    (tmp_path / "page.html").write_text(page.html.replace("</body>", PERSON))
    shown = document(tmp_path / "page.html", tmp_path / "profile")
    last = len(page.trace.tokens)  # the one that would come next
    assert f"<output>1,2,0,0,{last}</output>" in shown
