"""A look inside a run: its numbers are those of the model, and its page stands alone."""

import json
import os
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from browser import document, needs_chromium

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

TEXT = "the cat sat on the mat and the dog sat on the log.\n" * 60
SMALL = {"steps": 6, "batch": 4}
TINY = {**SMALL, "hidden": 8, "embedding": 6}
BLOCKS = {**SMALL, "width": 8, "heads": 2, "layers": 2}
PAIRS = [
    (f"{a} {b}", f"{b} {a}")
    for a in ("one", "two", "three", "four", "five")
    for b in ("six", "ten", "two")
]
GIVEN = {  # a name -> the kind, and the settings of a tiny run
    "ngram": ("ngram", {"order": 3, "unit": "character"}),
    "words": ("ngram", {"order": 3}),
    "neural-ngram": ("neural-ngram", {**TINY, "order": 4, "window": 8}),
    "lstm": ("lm", {**TINY, "window": 8, "layers": 2}),
    "gru": ("lm", {**TINY, "window": 8, "cell": "gru", "embedding": 0}),
    "rnn": ("lm", {**TINY, "window": 8, "cell": "rnn", "embedding": 8, "tied": True}),
    "mamba": ("mamba", {**SMALL, "width": 8, "state": 3, "layers": 2, "window": 8}),
    "gpt": ("gpt", {**BLOCKS, "context": 12}),
    "llama": ("llama", {**BLOCKS, "context": 12, "key_heads": 1}),
    "decoder": ("decoder", {**BLOCKS, "context": 12, "family": "mistral", "window": 4}),
    "bert": ("bert", {**BLOCKS, "context": 12}),
    "mpnet": ("encoder", {**BLOCKS, "context": 12, "family": "mpnet"}),
    "seq2seq": ("seq2seq", {**TINY, "minimum_count": 1}),
    "dot": ("seq2seq", {**TINY, "minimum_count": 1, "attention": "dot", "layers": 2}),
    "none": ("seq2seq", {**TINY, "minimum_count": 1, "attention": "none"}),
    "transformer": ("transformer", {**SMALL, "width": 8, "layers": 2, "feed_forward": 8}),
    "joint": (
        "transformer",
        {**SMALL, "width": 8, "layers": 2, "feed_forward": 8, "joint": True, "post_norm": True},
    ),
}
LANGUAGE = [
    "ngram",
    "words",
    "neural-ngram",
    "lstm",
    "gru",
    "rnn",
    "mamba",
    "gpt",
    "llama",
    "decoder",
]
NEURAL = [name for name in LANGUAGE if name not in ("ngram", "words")]
WITH_GRADIENTS = [name for name in NEURAL if name not in ("neural-ngram", "mamba")]
MASKED = ["bert", "mpnet"]
TRANSLATORS = ["seq2seq", "dot", "none", "transformer", "joint"]


@pytest.fixture(scope="module")
def runs():
    """A tiny run of each name in float64, made when it is asked for."""
    made = {}

    def run_of(name):
        if name not in made:
            kind, settings = GIVEN[name]
            data = {"pairs": PAIRS} if kind in ("seq2seq", "transformer") else {"text": TEXT}
            run = minillm.train(kind, quiet=True, **data, **settings)
            if kind != "ngram":
                run.model.params = {n: p.astype(np.float64) for n, p in run.model.params.items()}
            made[name] = run
        return made[name]

    return run_of


def text_of(name):
    return (
        "one two" if name in TRANSLATORS else "the cat sat on" if name in MASKED else "the cat sat"
    )


def trace_of(runs, name, **options):
    return runs(name).look(text_of(name), **options).trace


# --- the numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NEURAL)
def test_predictions_and_losses_of_language_models(runs, name):
    run, trace = runs(name), trace_of(runs, name)
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


@pytest.mark.parametrize("name", ["ngram", "words"])
def test_predictions_and_contexts_of_an_ngram_model(runs, name):
    run, trace = runs(name), trace_of(runs, name)
    ids = run.tokenizer.encode(text_of(name))
    start = run.model.config.start
    log10 = run.model.probabilities(np.concatenate([[start], ids]).astype(np.int32))[1:]
    np.testing.assert_allclose(trace.losses, -log10 * np.log(10), atol=1e-4)
    np.testing.assert_allclose(trace.probabilities.sum(axis=1), 1)
    assert trace.contexts[0] in (0, 1)  # the start of the text
    assert trace.contexts[2:].tolist() == [2] * (len(ids) - 1)


def test_an_ngram_model_falls_back_to_a_shorter_context(runs):
    trace = runs("ngram").look("catdog").trace  # "t" and "td" were never followed by "d" and "o"
    assert trace.contexts[3] == 2  # "at"
    assert trace.contexts[4] == 1  # "td" was never seen
    assert trace.losses[3] > 3


def changed(run, names, at, direction, h):
    """The run's model, with a row of each table moved."""
    params = dict(run.model.params)
    for name in names:
        params[name] = params[name].copy()
        params[name][at] += h * direction
    return params


@pytest.mark.parametrize("name", WITH_GRADIENTS)
def test_gradients_are_those_of_the_loss(runs, name):
    """A text of distinct tokens: a place has the gradient of its row of E."""
    run = runs(name)
    text = "the mando"
    ids = run.tokenizer.encode(text)
    assert len(set(ids)) == len(ids)
    trace, model = run.look(text).trace, run.model
    table = "embedding.E" if "embedding.E" in model.params else "layers.0.W_x"
    tied = name in ("gpt", "llama", "decoder", "rnn")
    T, h = len(ids), 1e-5
    kept = model.params
    output = kept[table].copy()
    slopes = np.zeros((T, T, kept[table].shape[1]))

    def losses(params):
        """Of each token; a tied output keeps the old table."""
        model.params = params
        try:
            if tied and name != "rnn":
                y, _ = model.hidden(ids[None])
                logits = y[0] @ output.T
            elif tied:
                hs, _ = model.hidden(ids[None])
                logits = hs[0] @ output.T + kept["output.b"]
            else:
                logits = model.forward(ids[None], model.zero_state(1))[0][0][0]
        finally:
            model.params = kept
        p = next_probabilities(logits)
        return -np.log(p[np.arange(T - 1), ids[1:]])

    for place, id in enumerate(ids):
        for k in range(slopes.shape[2]):
            direction = np.eye(slopes.shape[2])[k]
            up = losses(changed(run, [table], id, direction, h))
            down = losses(changed(run, [table], id, direction, -h))
            slopes[1:, place, k] = (up - down) / (2 * h)
    np.testing.assert_allclose(trace.gradient, np.linalg.norm(slopes, axis=2), atol=1e-7)
    assert (trace.gradient[np.triu_indices(T)] == 0).all()  # from earlier tokens only


def test_predictions_and_gradients_of_a_bert(runs):
    run, trace = runs("bert"), trace_of(runs, "bert")
    model, tokenizer = run.model, run.tokenizer
    assert trace.tokens[0] == "[CLS]"
    assert trace.tokens[-1] == "[SEP]"
    ids, place, T = trace.ids.copy(), 2, len(trace.tokens)
    ids[[0, -1]] = [tokenizer.bos, tokenizer.eos]

    def loss(rows):
        """Of the token at the place, with the rows that the places have in E."""
        hidden = ids.copy()
        hidden[place] = tokenizer.mask
        E, kept = model.params["embedding.E"], model.params
        model.params = kept | {"embedding.E": E[hidden] + rows}
        try:
            x, _ = model.hidden(np.arange(T)[None])
        finally:
            model.params = kept
        logits, _ = model.masked_words(x[0, place : place + 1])
        p = next_probabilities(logits[0])
        return -np.log(p[ids[place]]), p

    zero = np.zeros((T, model.config.width))
    nats, p = loss(zero)
    np.testing.assert_allclose(trace.probabilities[place], p)
    assert trace.losses[place] == pytest.approx(nats)
    assert np.isnan(trace.losses[[0, -1]]).all()
    for at in range(T):
        slope = []
        for k in range(model.config.width):
            step = zero.copy()
            step[at, k] = 1e-5
            slope.append((loss(step)[0] - loss(-step)[0]) / 2e-5)
        expected = 0 if at == place else np.linalg.norm(slope)
        assert trace.gradient[place, at] == pytest.approx(expected, abs=1e-8)


def test_predictions_and_gradients_where_positions_depend_on_ids(runs):
    run, trace = runs("mpnet"), trace_of(runs, "mpnet")
    model, tokenizer, T = run.model, run.tokenizer, len(trace.tokens)
    ids = trace.ids.copy()
    ids[[0, -1]] = [tokenizer.bos, tokenizer.eos]
    assert len(set(ids)) == T
    for place in range(1, T - 1):
        hidden = np.where(np.arange(T) == place, tokenizer.mask, ids)[None]
        x, backward = model.hidden(hidden)
        logits, words_backward = model.masked_words(x[0, place : place + 1])
        p = next_probabilities(logits[0])
        np.testing.assert_allclose(trace.probabilities[place], p)
        dx = np.zeros_like(x)
        dx[0, place] = words_backward((p - np.eye(len(p))[ids[place]])[None])[0]
        norms = np.linalg.norm(backward(dx)["embedding.E"][hidden[0]], axis=1)
        norms[place] = 0
        np.testing.assert_allclose(trace.gradient[place], norms, rtol=1e-6, atol=1e-12)


def test_attention_with_a_bias_is_what_the_model_uses(runs, monkeypatch):
    seen, original = [], ops.biased_attention

    def spy(q, k, v, bias, lengths=None):
        seen.append(ops.softmax(q @ k.mT / np.sqrt(q.shape[-1]) + bias)[0][0])
        return original(q, k, v, bias, lengths)

    run, trace = runs("mpnet"), trace_of(runs, "mpnet")
    monkeypatch.setattr(ops, "biased_attention", spy)
    ids = trace.ids.copy()
    ids[[0, -1]] = [run.tokenizer.bos, run.tokenizer.eos]
    run.model.hidden(ids[None])
    [part] = trace.attention
    np.testing.assert_allclose(part.weights, np.stack(seen), atol=1e-12)


def test_a_gap_in_the_text_has_no_loss(runs):
    trace = runs("bert").look("the [MASK] sat").trace
    at = trace.tokens.index("[MASK]")
    assert np.isnan(trace.losses[at])
    assert trace.probabilities[at].sum() == pytest.approx(1)


def test_a_bert_without_its_head_shows_its_attention(runs, monkeypatch):
    run = runs("bert")
    monkeypatch.setattr(run.model, "config", replace(run.model.config, masked_words=False))
    page = run.look("the cat sat")
    assert np.isnan(page.trace.losses).all()
    assert page.trace.notes == ["the model has no head for masked words, so nothing is predicted"]
    assert numbers(page)["mean"] is None
    assert numbers(page)["gradient"] is None
    assert len(numbers(page)["attention"]) == 1


@pytest.mark.parametrize("name", TRANSLATORS)
def test_predictions_of_translators(runs, name):
    run, trace = runs(name), trace_of(runs, name, target="two three")
    model, source = run.model, run.source.encode("one two")
    assert trace.source == ["one", "two"]
    assert trace.tokens == ["two", "three", "(end)"]
    target = np.array([*run.target.encode("two three"), model.config.eos])
    S, T = np.array([2]), np.array([3])
    loss, _ = model.loss((source[None], S, target[None], T))
    assert trace.losses.mean() == pytest.approx(loss)
    np.testing.assert_allclose(trace.probabilities[:3].sum(axis=1), 1)


@pytest.mark.parametrize("name", ["gpt", "llama", "decoder", *MASKED, *TRANSLATORS])
def test_attention_rows_sum_to_one(runs, name):
    trace = trace_of(runs, name)
    lengths = {
        "text": len(trace.tokens),
        "source": len(trace.source),
        "inputs": len(trace.tokens),
    }
    assert len(trace.attention) == {"seq2seq": 1, "dot": 1, "none": 0}.get(
        name, 1 if name in ("gpt", "llama", "decoder", *MASKED) else 3
    )
    for part in trace.attention:
        np.testing.assert_allclose(part.weights.sum(axis=-1), 1)
        assert part.weights.shape[2:] == (lengths[part.queries], lengths[part.keys])
        above = np.triu_indices(lengths[part.queries], 1, lengths[part.keys])
        assert (part.weights[..., above[0], above[1]] == 0).all() == part.causal


@pytest.mark.parametrize("name", ["bert", "transformer", "joint"])
def test_attention_is_what_the_model_uses(runs, name, monkeypatch):
    """The weights are those that the op computes in the model itself."""
    seen, original = [], ops.scaled_dot_product_attention

    def spy(q, k, v, mask):
        if len(q) == 1:
            scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
            if mask.causal:
                scores[..., np.triu(np.ones(scores.shape[-2:], bool), 1)] = -np.inf
            seen.append(ops.softmax(scores)[0][0])
        return original(q, k, v, mask=mask)

    def spied(params, prefix, x, heads, attend):
        attend = partial(spy, mask=CAUSAL) if attend is causal else attend
        return self_attention(params, prefix, x, heads, attend)

    run, trace = runs(name), trace_of(runs, name)
    monkeypatch.setattr(ops, "scaled_dot_product_attention", spy)
    monkeypatch.setattr(transformer, "self_attention", spied)  # causal is bound to the original
    if name == "bert":
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


def test_gates_obey_the_equations_of_the_lstm(runs):
    run, trace = runs("lstm"), trace_of(runs, "lstm")
    assert len(trace.activity) == 2
    for v in trace.activity:
        before = np.concatenate([np.zeros_like(v["c"][:1]), v["c"][:-1]])
        np.testing.assert_allclose(v["c"], v["f"] * before + v["i"] * v["g"])
        np.testing.assert_allclose(v["h"], v["o"] * np.tanh(v["c"]))
    ids = run.tokenizer.encode(text_of("lstm"))
    np.testing.assert_allclose(trace.activity[1]["h"], run.model.hidden(ids[None])[0][0])


def test_gates_obey_the_equations_of_the_gru(runs):
    (v,) = trace_of(runs, "gru").activity
    before = np.concatenate([np.zeros_like(v["h"][:1]), v["h"][:-1]])
    np.testing.assert_allclose(v["h"], (1 - v["z"]) * v["n"] + v["z"] * before)
    assert v["r"].shape == v["h"].shape


def test_an_rnn_has_states_alone(runs):
    (layer,) = trace_of(runs, "rnn").activity
    assert list(layer) == ["h"]


@pytest.mark.parametrize("name", ["neural-ngram", "lstm", "mamba", "ngram"])
def test_a_long_text_is_read_whole_and_its_end_is_shown(runs, name):
    run, long = runs(name), "the cat sat on the mat and the dog " * 4
    trace = run.look(long).trace
    assert len(trace.tokens) == 128
    assert trace.notes == [f"the last 128 of {len(long)} characters are shown"]
    ids = run.tokenizer.encode(long)
    logits, _ = run.reader.read(ids[None], run.reader.zero_state(1))
    np.testing.assert_allclose(trace.probabilities[-1], next_probabilities(logits[0]), atol=1e-9)


@pytest.mark.parametrize("name", ["seq2seq", "transformer"])
def test_a_translator_shows_the_beginning_of_a_long_source_and_target(runs, name):
    run, long = runs(name), "one two three " * 50
    trace = run.look(long, target=long).trace
    assert (len(trace.source), len(trace.tokens)) == (128, 128)
    assert "(end)" not in trace.tokens
    assert trace.notes == [
        "the first 128 of 150 tokens of the source are read",
        "the target is the given one",
        "the first 128 of its 150 tokens are shown",
    ]
    assert run.look(long).trace.notes[1] == "the target is the model's own output"


def test_a_gpt_shows_the_last_context(runs):
    trace = runs("gpt").look("the cat sat on the mat").trace
    assert "".join(trace.tokens) == "t␣on␣the␣mat"
    assert trace.notes == ["the last 12 of 22 characters are shown"]


def test_one_token(runs):
    for name in LANGUAGE:
        page = runs(name).look("a" if name != "words" else "the")
        assert len(page.trace.tokens) == 1
        assert page.trace.probabilities[1].sum() == pytest.approx(1)
    assert runs("bert").look("the").trace.tokens == ["[CLS]", "the", "[SEP]"]


# --- the page -------------------------------------------------------------------------------------


def numbers(page):
    (found,) = re.findall(r'<script type="application/json" id="numbers">(.*?)</script>', page.html)
    return json.loads(found)


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_the_page_stands_alone(runs, name, tmp_path):
    page = runs(name).look(text_of(name))
    assert "http" not in page.html
    assert " src=" not in page.html
    assert "@import" not in page.html
    assert page.html.count("<script") == page.html.count("</script>") == 2
    values = numbers(page)
    assert values["tokens"]["text"] == page.trace.tokens
    assert len(values["predictions"]) == len(page.trace.tokens) + 1
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == page.html


def test_the_page_has_the_ten_most_probable_tokens(runs):
    page = runs("lstm").look("the cat")
    row, p = numbers(page)["predictions"][3], page.trace.probabilities[3]
    assert len(row["top"]) == 10
    assert row["top"][0][1] == pytest.approx(p.max(), rel=1e-3)
    assert row["p"] == pytest.approx(np.exp(-page.trace.losses[3]), rel=1e-3)
    assert row["rank"] == 1 + (p > p[page.trace.ids[3]]).sum()
    assert numbers(page)["predictions"][-1].keys() == {"top"}


def test_a_text_cannot_end_the_script(runs):
    evil = '</script><script>alert(1)</script><!-- "/*script*/ {{numbers}}'
    run = minillm.train("ngram", text=f"{evil}\n" * 30, unit="character", order=2, quiet=True)
    page = run.look(evil)
    assert page.html.count("<script") == page.html.count("</script>") == 2
    assert "".join(numbers(page)["tokens"]["text"]) == evil.replace(" ", "␣")
    word = minillm.train("ngram", text="a <b> & c\n" * 30, minimum_count=1, order=2, quiet=True)
    assert "<b>" not in word.look("<b>").html


def test_a_notebook_shows_it_in_a_frame(runs):
    page = runs("ngram").look("the cat")
    frame = page._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert frame.count("<") == 2  # the frame alone
    assert 'sandbox="allow-scripts"' in frame
    assert "characters" in repr(page)


@pytest.mark.parametrize("name", ["neural-ngram", "lstm", "gpt"])
def test_the_best_ngram_of_its_text_is_beside_a_network(runs, name):
    page, run = runs(name).look("the cat sat"), runs(name)
    _, best = best_ngram(training_ids(run), held_out_ids(run), run.tokenizer)
    counted = minillm.train("ngram", text=TEXT, order=best.order, unit="character", quiet=True)
    expected = counted.look("the cat sat")
    assert page.beside.tokens == page.trace.tokens
    np.testing.assert_allclose(page.beside.losses[1:], expected.trace.losses[1:], rtol=1e-6)
    assert numbers(page)["beside"]["model"] == f"n-grams of order {best.order}"


def test_a_network_whose_text_is_gone_is_looked_at_alone(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    settings = {**TINY, "window": 8, "quiet": True}
    run = minillm.train("lm", tmp_path / "run", files=tmp_path / "text.txt", **settings)
    (tmp_path / "text.txt").unlink()
    page = run.look("the cat")
    assert page.beside is None
    assert len(page.trace.tokens) == len("the cat")


def test_two_runs_beside_each_other(runs):
    page = runs("lstm").look("the cat", beside=runs("ngram"))
    values = numbers(page)["beside"]
    assert values["losses"][1:] == pytest.approx(page.beside.losses[1:].tolist(), rel=1e-3)
    assert values["contexts"] == page.beside.contexts.tolist()
    assert len(values["predictions"]) == 8


def test_two_translators_beside_each_other_read_the_same_output(runs):
    page = runs("seq2seq").look("one two", beside=runs("dot"))
    assert page.trace.tokens == page.beside.tokens
    assert page.trace.tokens[-1] == "(end)"
    page = runs("seq2seq").look("one two", beside=runs("dot"), target="two")
    assert page.beside.tokens == ["two", "(end)"]


def test_a_longer_text_beside_a_gpt_is_aligned_at_the_end(runs):
    text = "the cat sat on the mat"
    for first, second in (("ngram", "gpt"), ("gpt", "ngram")):
        page = runs(first).look(text, beside=runs(second))
        values, count = numbers(page), len(page.trace.tokens)
        assert len(values["beside"]["losses"]) == count
        assert len(values["beside"]["predictions"]) == count + 1
        last = values["beside"]["predictions"][-1]["top"][0][1]
        assert last == pytest.approx(page.beside.probabilities[-1].max(), rel=1e-3)


def test_a_list_of_texts_gets_a_list_of_pages(runs):
    pages = runs("ngram").look(["the cat", "the dog"])
    assert [len(page.trace.tokens) for page in pages] == [7, 7]
    assert all(isinstance(page, Page) for page in pages)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("lstm", "", {}, "TEXT: expected one token or more, found none in ''"),
        ("bert", " ", {}, "TEXT: expected one token or more"),
        ("lstm", "été", {}, "TEXT, line 1, column 1"),
        ("seq2seq", "", {}, "TEXT: expected a text of one word or more, found none"),
        (
            "lstm",
            "the",
            {"target": "the"},
            "target: expected a run of seq2seq or summariser",
        ),
        ("lstm", "the", {"beside": "words"}, "beside: expected a run that splits the text"),
    ],
)
def test_bad_input(runs, name, text, options, message):
    if "beside" in options:
        options = {"beside": runs(options["beside"])}
    with pytest.raises(InputError, match=re.escape(message)):
        runs(name).look(text, **options)


def test_the_command(runs, tmp_path, capsys):
    run = tmp_path / "run"
    runs("ngram").save(run)
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


def test_the_name_of_a_folder_that_is_no_utf8(runs, tmp_path):
    run, out = tmp_path / os.fsdecode(b"by\xffte"), tmp_path / "page.html"
    try:
        runs("ngram").save(run)
    except OSError:
        pytest.skip("this system has no such names")
    assert main(["look", str(run), "the cat", "--out", str(out)]) == 0
    assert "A look inside by?te" in out.read_text("utf-8")


def test_a_kind_that_cannot_be_looked_into(tmp_path, capsys):
    run = tmp_path / "run"
    minillm.train("tokenizer", run, text=TEXT, vocabulary=300, quiet=True)
    capsys.readouterr()
    assert main(["look", str(run), "the cat"]) == 2
    error = capsys.readouterr().err
    assert "expected a run of ngram or neural-ngram or lm" in error
    assert error.count("\n") == 1


# --- in a browser ---------------------------------------------------------------------------------


@needs_chromium
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.deep) for name in ("ngram", "lstm", "bert", "seq2seq")]
    + ["gpt", "joint"],
)
def test_a_browser_draws_the_page_without_an_error(runs, name, tmp_path):
    page = runs(name).look(text_of(name))
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
        + bool(trace.activity)
    )
    assert main_part.count("came</span>") + main_part.count("expected") >= 1
    heads = sum(part.weights[:, :, 0, 0].size + len(part.weights) for part in trace.attention)
    if name in ("gpt", "bert"):
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
def test_a_person_chooses_a_token(runs, tmp_path):
    page = runs("gpt").look(text_of("gpt"))
    (tmp_path / "page.html").write_text(page.html.replace("</body>", PERSON))
    shown = document(tmp_path / "page.html", tmp_path / "profile")
    last = len(page.trace.tokens)  # the one that would come next
    assert f"<output>1,2,0,0,{last}</output>" in shown
