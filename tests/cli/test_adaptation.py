"""A language model on general text and then on a domain's: what is gained and what is forgotten."""

import pytest

import minillm

GENERAL = "the cat sat on the mat and the big fish was in the dog.\n" * 60
DOMAIN = "a boat is on the sea. no boat is at home.\n" * 60
BLOCKS = {"width": 8, "heads": 2, "layers": 1, "context": 16}
KINDS = {
    "bert": {**BLOCKS, "vocabulary": 60},
    "gpt": BLOCKS,
    "lm": {"hidden": 8, "embedding": 4, "cell": "gru"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_gains_on_the_domain_and_forgets_the_general_text(kind, tmp_path):
    shared = {"steps": 60, "batch": 8, "learning_rate": 0.02, "quiet": True}
    base = minillm.train(kind, tmp_path / "base", text=GENERAL, **KINDS[kind], **shared)
    adapted = minillm.train(kind, init=tmp_path / "base", text=DOMAIN, **shared)
    for text, is_better in ((DOMAIN, True), (GENERAL, False)):
        before, after = (run.evaluate(text)["perplexity"] for run in (base, adapted))
        assert (after < before) == is_better
