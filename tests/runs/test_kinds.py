"""Each kind of model: it trains, is resumed, measured and saved, and does what it can do."""

import re
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from kind_rows import KINDS, LABELLED, PAIRS, ROWS, TALKS, TEXT, lines, squad, tsv
from model_checks import loss_in_context
from tiny import metrics

import minillm
from minillm.errors import InputError
from minillm.ops.rotary_scaling import Linear
from minillm.runs import kind as kind_module
from minillm.runs.config import save_run
from minillm.runs.folder import RunFolder
from minillm.runs.kind import kinds
from minillm.runs.kinds.pairs import MUON_RATE
from minillm.runs.run import ABILITIES
from minillm.training.trained import depths

pytestmark = pytest.mark.filterwarnings("ignore:.*parts are summarised")


@pytest.fixture(params=ROWS)
def name(request):
    return request.param


@pytest.fixture
def opened(name, runs):
    return minillm.load(runs(name))


def assert_same(one, other):
    """The weights of two runs, bit for bit."""
    assert one.model.params.keys() == other.model.params.keys()
    for weight, array in one.model.params.items():
        if isinstance(array, np.ndarray):
            np.testing.assert_array_equal(array, other.model.params[weight], err_msg=weight)


def test_every_kind_has_a_row():
    assert {kind for kind in kinds() if not kind.startswith("toy")} == {
        row.kind for row in ROWS.values()
    }


# --- training -----------------------------------------------------------------------------------


def interrupted_after(steps, kind, monkeypatch):
    """Ctrl-C comes in a step of the trainings of a kind; a kind without steps is only trained."""
    own = kinds()[kind]

    def interrupted(training):
        own.prepare(training)
        loss, step = training.task.training_loss, iter(range(1, steps + 3))

        def counted(rng):
            if next(step) == steps:
                signal.raise_signal(signal.SIGINT)
            return loss(rng)

        training.task.training_loss = counted

    monkeypatch.setitem(kind_module._kinds, kind, own)
    if own.prepare:
        replace(own, prepare=interrupted)  # a row enters itself in the list
    return own.prepare is not None


# One row of each kind, and those with another optimiser.
@pytest.mark.parametrize("name", [*KINDS.values(), "gru", "rnn"])
def test_of_one_seed_is_one_model_also_where_it_was_interrupted(name, opened, runs, tmp_path):
    out, kind = tmp_path / "run", ROWS[name].kind
    with pytest.MonkeyPatch.context() as patch:
        in_steps = interrupted_after(4, kind, patch)
        minillm.train(out=out, **runs.given(name))
    if in_steps:
        assert len(metrics(out)) < len(metrics(opened.path))
        minillm.train(kind, out, resume=True, quiet=True)
        assert metrics(out) == metrics(opened.path)
    assert_same(opened, minillm.load(out))


OPTIMISERS = [  # chosen by default: with Muon only for fresh weights, and by the width
    ("gpt", {}, "adamw", 0.4 / 8),
    ("bert", {}, "adamw", 0.15 / 8),
    ("mamba", {}, "muon", 1.3 / 8),
    ("mamba", {"init": "mamba"}, "adamw", 0.39 / 8),
    ("llama", {}, "muon", None),
    ("llama", {"init": "llama"}, "adamw", None),
    ("transformer", {}, "muon", MUON_RATE),
    ("transformer", {"optimiser": "adamw"}, "adamw", 2e-3),
    ("transformer", {"init": "transformer"}, "adamw", 6e-4),
    ("transformer", {"init": "transformer", "lora_rank": 1}, "adamw", 2e-3),
    ("qa", {}, "adamw", 0.002),
]


@pytest.mark.parametrize(("name", "settings", "optimiser", "rate"), OPTIMISERS)
def test_optimisers_and_rates_by_default(name, settings, optimiser, rate, runs):
    found = minillm.train(**runs.given(name, **{"steps": 1, **settings})).settings
    assert found.optimiser == optimiser
    if rate is not None:
        assert found.learning_rate == pytest.approx(rate)


@pytest.mark.parametrize(
    ("name", "other", "what"),
    [
        ("lm", TEXT.replace("mat", "rug"), "text has"),
        ("word2vec", TEXT.replace("mat", "rug"), "text has"),
        ("seq2seq", tsv(PAIRS[1:]), "data have"),
        ("classifier", LABELLED.replace("fine", "good"), "data have"),
        ("qa", squad("abcdefghijkx", unanswered=True), "data have"),
        ("chat", TALKS.replace("the mat", "a mat"), "data have"),
    ],
)
def test_a_run_goes_on_with_its_own_data(name, other, what, runs, tmp_path):
    out, moved = (
        shutil.copytree(runs(name), tmp_path / "run"),
        tmp_path / f"moved{'.jsonl' * (name == 'chat')}",
    )
    longer = {"epochs": 2} if name == "word2vec" else {"steps": 7}
    moved.write_text(other)
    with pytest.raises(InputError, match=f"the {what} changed since the run was started"):
        minillm.train(ROWS[name].kind, out, resume=True, files=moved, **longer)
    moved.write_text(ROWS[name].data)
    minillm.train(ROWS[name].kind, out, resume=True, files=moved, quiet=True, **longer)


# --- what runs can do -----------------------------------------------------------------------------


def test_it_is_measured_and_saved(name, opened, tmp_path):
    assert opened.kind.name == ROWS[name].kind
    assert opened.kind.name in repr(opened)
    options = {"beam": 1} if "beam" in opened.kind.eval_options else {}
    opened.save(tmp_path / "copy")
    again = minillm.load(tmp_path / "copy")
    assert_same(opened, again)
    if ROWS[name].figures:
        results = opened.evaluate(**options)
        assert " ".join(results) == ROWS[name].figures
        assert all(np.isfinite(v) for v in results.values() if isinstance(v, float))
        assert again.evaluate(**options) == results
    if not options:
        with pytest.raises(
            InputError, match=f"beam: expected a run of .*, found '{opened.kind.name}'$"
        ):
            opened.evaluate(beam=1)


NOT_SAVED = ("chat", "preferences")  # their weights are quantised


@pytest.mark.parametrize("name", [n for n in KINDS.values() if n not in NOT_SAVED])
def test_its_model_is_saved_as_a_run(name, opened, tmp_path):
    vocabularies = tuple(opened.vocabularies.values())
    facts = {n: v for n, v in opened.data.items() if n in ("data", *opened.kind.info)}
    tokenizer = vocabularies[0] if len(vocabularies) == 1 else vocabularies
    saved = minillm.save(opened.model, tokenizer, tmp_path / "saved", **facts)
    assert saved.kind.model is opened.kind.model
    assert_same(opened, saved)


def test_what_it_can_do(name, opened):
    ROWS[name].check(opened)


@pytest.mark.parametrize("name", KINDS.values())
def test_what_it_cannot_do_is_told(name, opened):
    kind = opened.kind.name
    lacking = [ability for ability in ABILITIES if not hasattr(opened.kind.run, ability)]
    for ability in lacking:
        with pytest.raises(
            InputError, match=rf"config\.json: expected a run of .*, found '{kind}'"
        ):
            getattr(opened, ability)


def test_images_are_recognised(runs):
    run = minillm.train(**runs.given("image-classifier", steps=200, batch=64, hidden=64))
    results = run.evaluate(part="test")
    assert results["items"] == 360
    assert results["accuracy"] > 0.9


def test_answers_are_learned_and_their_absence(runs):
    asked = squad([*"abcdefghijklmnopqrst"], unanswered=True)
    sizes = {"width": 32, "dropout": 0, "learning_rate": 0.01, "batch": 12, "vocabulary": 70}
    given = runs.given("qa", data=asked, steps=60, **sizes)
    run = minillm.train(**given, validation=given["files"])
    results = run.evaluate()
    assert results["questions"] == 40
    assert results["exact_match"] > 90
    assert results["f1"] >= results["exact_match"]
    both = (results["f1_answered"] + results["f1_unanswered"]) / 2
    assert results["f1"] == pytest.approx(both)
    best = run.answer("What did zoe find?", "a\tfound gold7!")
    assert best == ("", best.probability, None, None)
    assert best.probability > 0.5


def test_one_vocabulary_for_both_sides(runs):
    run = minillm.load(runs("joint"))
    assert run.source.to_dict() == run.target.to_dict()
    assert run.model.params["embedding.E"].shape == (len(run.target) + 1, 8)


def test_a_text_to_measure_on_fits_in_memory(runs, monkeypatch):
    monkeypatch.setattr("minillm.runs.kinds.texts.MOST_IN_MEMORY", 10)
    with pytest.raises(InputError, match=r"expected at most .* bytes"):
        minillm.load(runs("lm")).evaluate("the cat sat.\n" * 9)


def test_evaluation_is_of_the_whole_held_out_text(runs):
    run = minillm.load(runs("gpt"))
    ids = run.tokenizer.encode(TEXT[len(TEXT) * 9 // 10 :])
    expected, results = loss_in_context(run.model, ids), run.evaluate()
    assert results["tokens"] == len(ids) - 1
    for unit in ("token", "byte", "character"):
        assert results[f"nats_per_{unit}"] == pytest.approx(expected, rel=1e-5)
        assert results[f"bits_per_{unit}"] == pytest.approx(expected / np.log(2), rel=1e-5)


def test_unknown_words_are_counted_and_never_written(runs):
    options = {"unit": "word", "vocabulary": 9, "steps": 60, "learning_rate": 0.05}
    run = minillm.train(**runs.given("lm", **options))
    assert len(run.tokenizer) == 9
    assert 0 < run.evaluate()["unknown_share"] < 1
    written = run.generate("the cat", length=40, seed=1)
    assert written.startswith("the cat ")
    assert "<unk>" not in written
    with pytest.raises(InputError, match="prompt: the word 'horse' "):
        run.generate("the horse sat")


def test_writing_ends_before_a_stop_token(runs):
    run = minillm.load(runs("neural-ngram"))
    whole = run.generate("the ", length=300, seed=1)
    assert "o" in whole[4:]
    assert run.generate("the ", length=300, seed=1, stop=["o"]) == whole[: whole.index("o", 4)]
    with pytest.raises(InputError, match="stop: expected a single character, found 'on'"):
        run.write("the ", stop=["on"])


def test_options_of_other_programs_are_led_to_those_here(runs):
    for name, here in (("max_new_tokens", "length"), ("temperatur", "temperature")):
        with pytest.raises(InputError, match=f"{name}: there is no such setting.*{here}"):
            minillm.load(runs("lm")).generate("the ", **{name: 5})


# --- runs that begin with another one of their kind -----------------------------------------------

# Recurrent and tied, blocks, with wordpieces, two vocabularies and one, and a reader.
BEGUN = ["rnn", "byte pairs", "bert", "seq2seq", "joint", "mamba", "llama", "qa"]
LORA = {"lora_rank": 1, "lora_alpha": 1.5, "learning_rate": 0.01}


@pytest.fixture
def begin(runs, tmp_path):
    """Trains a run that begins with that of a row; returns both, and the lines that it reports."""

    def trained(name, **settings):
        told = []
        given = runs.given(name, init=str(runs(name)), **{"steps": 3, **settings})
        run = minillm.train(out=tmp_path / "begun", **given, report=told.append)
        return minillm.load(runs(name)), run, told

    return trained


def changed(one, other):
    """The names of the weights that differ."""
    params = other.model.params
    return {n for n, p in one.model.params.items() if not np.array_equal(p, params[n])}


def moments(run):
    """The names of the weights of which an optimiser keeps moments."""
    arrays, _ = run.folder.load_resume()
    return {name.removeprefix("optimiser/m.") for name in arrays if name.startswith("optimiser/m.")}


@pytest.mark.parametrize("name", BEGUN)
def test_it_begins_with_the_bits_of_the_other(name, begin, monkeypatch):
    """A run of no steps."""
    monkeypatch.setattr("minillm.training.Options.progress", lambda *_: 1.0)
    base, run, told = begin(name)
    assert_same(base, run)
    assert base.config == run.config
    for vocabulary in run.kind.vocabularies:
        assert getattr(run, vocabulary).to_dict() == getattr(base, vocabulary).to_dict()
    [line] = [line for line in told if " weights taken" in line]
    assert "new:" not in line
    assert "left:" not in line


@pytest.mark.parametrize(("name", "freeze"), [(name, "2") for name in BEGUN] + [("joint", None)])
def test_frozen_weights_keep_their_bits_and_cost_no_moments(name, freeze, begin):
    base, run, _ = begin(name, freeze=freeze)
    trained = {weight for weight, depth in depths(run.model).items() if depth >= int(freeze or 0)}
    assert changed(base, run) == trained
    assert moments(run) == trained


@pytest.mark.parametrize("name", BEGUN)
def test_lora_changes_matrices_and_stores_its_updates_alone(name, begin):
    base, run, _ = begin(name, **LORA)
    stored = run.folder.load_model()
    assert changed(base, run) == {weight[:-2] for weight in stored} != set()
    assert moments(run) == stored.keys()
    for weight in changed(base, run):
        assert not re.search(r"norm|E$", weight)
        A, B = stored[f"{weight}.A"], stored[f"{weight}.B"]
        expected = base.model.params[weight] + 1.5 * A @ B
        np.testing.assert_allclose(run.model.params[weight], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "lora"), [("mamba", {}), ("llama", {"lora_rank": 1})])
def test_sizes_without_an_option_come_from_the_other_run(name, lora, runs, tmp_path):
    """Otherwise an imported model would go on with another output, other angles, or another eps."""
    source = minillm.load(runs(name))
    own = {"eps": 0.01} if name == "mamba" else {"rotary_base": 77.0, "rope_scaling": Linear(2.0)}
    config = replace(source.config, tied=False, **own)
    params = {**source.model.params, "output.W": source.model.params["embedding.E"].T.copy()}
    stored = replace(source.stored, config=config)
    save_run(RunFolder(tmp_path / "other"), stored, params, source.vocabularies)
    given = runs.given(name, init=tmp_path / "other", **lora)
    for length in ({"steps": 2}, {"steps": 3, "resume": True}):
        run = minillm.train(out=tmp_path / "run", **{**given, **length})
        assert run.config == config


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2}, {"freeze": "1"}])
def test_a_reader_begins_with_a_bert(options, runs, tmp_path):
    told = []
    given = runs.given("qa", init="bert", steps=2, width=None, context=None, stride=4, **options)
    sizes = {name: value for name, value in given.items() if value is not None}
    run = minillm.train(out=tmp_path / "run", **sizes, report=told.append)
    bert = minillm.load(runs("bert"))
    [line] = [line for line in told if " weights taken" in line]
    assert "; new: span.W; left: mask.W, mask.b," in line
    assert run.tokenizer.to_dict() == bert.tokenizer.to_dict()
    assert run.config.encoder == "bert"
    shared = run.model.params.keys() & bert.model.params.keys()
    assert run.model.params.keys() - shared == {"span.W"}
    differing = {n for n in shared if (run.model.params[n] != bert.model.params[n]).any()}
    assert "blocks.0.attention.W_qkv" in differing
    assert ("embedding.E" in differing) == (not options)
    assert len(run.answers(["Who?"], "gold1 is here")) == 1


# --- wrong input ----------------------------------------------------------------------------------

COMES = "expected the one of init, because it is taken; found"
RANK = "lora_rank: expected at most 8, the smaller side of encoder.blocks.0."
FREEZE = "freeze: expected a number from 0 to 3, or encoder; found"
BASES = "RUN: expected a run of lm, gpt, llama, decoder, bert, encoder or finetuned, found one of"
ROBOT = [{"role": "robot", "content": "x"}]
WRONG = [  # of a row, other settings or other data
    ("lm", {"data": ""}, "data: expected text, found an empty file"),
    ("lm", {"data": "only one!"}, "the validation text: expected 2 tokens or more, found 1"),
    ("lm", {"tied": True, "embedding": 5}, "embedding"),
    ("lm", {"unit": "bpe", "vocabulary": 256}, "vocabulary: expected at least 257 byte pairs"),
    ("lm", {"tokenizer": "."}, "expected one of vocabulary.json"),
    ("gpt", {"heads": 3}, "heads: expected a divisor of width, found 3 and 8"),
    ("gpt", {"context": 2754}, "expected more than one window of 2,754 tokens, found"),
    ("gpt", {"freeze": "1"}, "freeze: expected init with it, found none"),
    ("gpt", {"lora_rank": 1}, "lora_rank: expected init with it, found none"),
    ("gpt", {"init": "bert"}, "init: expected a run of gpt, found one of bert in"),
    ("gpt", {"init": "gpt", "context": 40}, "positions.E: expected shape (40, 8), found (12, 8)"),
    ("gpt", {"init": "gpt", "freeze": "encoder"}, "freeze: expected a number: this model has no"),
    ("byte pairs", {"init": "byte pairs", "unit": "word"}, f"unit: {COMES} word"),
    ("byte pairs", {"init": "byte pairs", "tokenizer": "lm"}, f"tokenizer: {COMES} /"),
    ("bert", {"context": 5000}, "context: expected less than the"),
    ("bert", {"tokenizer": "byte pairs"}, "expected a vocabulary with [CLS], [SEP] and [MASK]"),
    ("encoder", {"family": "electra"}, "masked_words: expected none in family electra, found True"),
    ("seq2seq", {"data": "a\tb\nno tab\n"}, "line 2: expected source<TAB>target, found no tab"),
    ("seq2seq", {"data": "a\tb\nc\t\n"}, "found an empty target"),
    ("seq2seq", {"data": "a\tb\n"}, "expected 10 pairs or more"),
    ("seq2seq", {"validation": "none.tsv"}, "none.tsv: there is no such file"),
    ("classifier", {"data": "good\tx\nno\n"}, "line 2: expected label<TAB>text, found no tab"),
    ("classifier", {"data": "good\tx\n" * 30}, "expected two labels or more, found 1"),
    ("classifier", {"data": "a film\tbad\nit\tbad\n"}, "the columns may be in the other order"),
    ("classifier", {"data": "good\tx\nbad\ty\n"}, "expected a label with ten texts or more"),
    ("recurrent-classifier", {"unit": "wordpiece", "vocabulary": 6}, "at least 7 wordpieces"),
    ("finetuned", {"init": "none"}, "none: there is no run in it"),
    ("finetuned", {"init": "word2vec"}, f"{BASES} word2vec"),
    ("finetuned", {"freeze": "all"}, f"{FREEZE} 'all'"),
    ("finetuned", {"lora_alpha": 1}, "lora_alpha: expected lora_rank with it, found none"),
    ("finetuned", {"lora_rank": 9}, RANK),
    ("finetuned", {"pooling": "attention"}, "pooling: expected one of"),
    (
        "qa",
        {"data": squad("ab").replace('_start": 10', '_start": 11')},
        "expected the answer 'gold",
    ),
    ("qa", {"files": "cmudict"}, "found a built-in set of kind 'pairs'"),
    ("qa", {"width": 7}, "width: expected an even number"),
    ("qa", {"init": "lm"}, "init: expected a run of bert or qa, found one of lm in"),
    ("qa", {"init": "bert", "tokenizer": "qa"}, f"tokenizer: {COMES} /"),
    ("word2vec", {"minimum_count": 10**6}, "expected at least 2 words that occur 1000000 times"),
    ("ngram", {"prune": [2, 1]}, "prune: expected counts that do not fall"),
    ("tokenizer", {"cased": True}, "cased: expected the unit wordpiece"),
    ("chat", {"data": "".join(TALKS.splitlines(True)[:9]) * 3}, "ten different beginnings or more"),
    ("chat", {"max_length": 8}, "expected a conversation of at most 8 tokens"),
    ("chat", {"lora_rank": 0}, "its weights are quantised, and cannot be trained"),
    ("chat", {"init": "chat"}, "first merge them, with minillm merge"),
    *(
        ("chat", {"data": lines({"prompt": "x", "completion": "y"}, row)}, f"line 2: {message}")
        for row, message in [
            ({"text": "x"}, 'expected "messages"'),
            ({"messages": []}, "expected a message of the assistant"),
            ({"messages": ROBOT}, "messages[0].role: expected "),
            ({"messages": [{"role": "user"}]}, "messages[0].content: expected "),
            ({"prompt": 3, "completion": "x"}, "prompt: expected "),
            ({"prompt": "x", "chosen": "a", "rejected": "b"}, "expected conversations only"),
        ]
    ),
]


@pytest.mark.parametrize(("name", "wrong", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_input_is_one_line_and_writes_nothing(name, wrong, message, runs, tmp_path):
    given = runs.given(name, **wrong)
    with pytest.raises(InputError) as caught:
        minillm.train(out=tmp_path / "run", **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
