"""lm-eval measures a model behind the server as it would measure the model itself."""

import warnings

import numpy as np
import pytest

pytest.importorskip("lm_eval")

from minillm.decoding import Reader
from minillm.ops.softmax import log_softmax

QUESTIONS = [
    *(("the cat", " sat"), ("the cat", " on the mat"), ("on the mat and", " log")),
    ("", "the"),
]
STOPS = ["m", "!", "?", "zzz", "log", "\n\n"]


def client(server, run, kind, path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.models import openai_completions

        return getattr(openai_completions, kind)(
            base_url=f"{server.address}/v1/{path}", model="run", max_length=64, **options
        )


def instances(kind, *arguments):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, one, at) for at, one in enumerate(arguments)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch", [1, 3])
def test_multiple_choice(server, run, tmp_path, batch):
    run.export(tmp_path / "hf", "huggingface")
    options = {"tokenizer_backend": "huggingface", "tokenizer": str(tmp_path / "hf")}
    some = client(server, run, "LocalCompletionsAPI", "completions", batch_size=batch, **options)
    found = some.loglikelihood(instances("loglikelihood", *QUESTIONS))
    reader = Reader(run.model)
    for (context, ending), (log_p, greedy) in zip(QUESTIONS, found, strict=True):
        before = run.tokenizer.encode(context).tolist() or [run.tokenizer.eos]
        ids = [*before, *run.tokenizer.encode(ending).tolist()]
        logits, _ = reader.read_all(np.array([ids]), reader.zero_state(1))
        scores = log_softmax(logits[0].astype(np.float64))
        places = range(len(before) - 1, len(ids) - 1)
        assert log_p == pytest.approx(sum(scores[at, ids[at + 1]] for at in places), abs=1e-3)
        assert greedy == all(scores[at].argmax() == ids[at + 1] for at in places)


@pytest.mark.filterwarnings("ignore")
def test_texts_that_are_written(server, run):
    options = {"until": STOPS, "max_gen_toks": 12, "do_sample": False}
    texts = ["the cat", "the dog sat", "on the mat"]
    plain = {"tokenizer_backend": None, "tokenized_requests": False, "batch_size": 2}
    some = client(server, run, "LocalCompletionsAPI", "completions", **plain)
    found = some.generate_until(instances("generate_until", *((t, dict(options)) for t in texts)))
    for text, written in zip(texts, found, strict=True):
        whole = "".join(run.write(text, length=12, temperature=0)).removeprefix(text)
        ends = [whole.index(stop) for stop in STOPS if stop in whole]
        assert written == whole[: min(ends, default=len(whole))]
