"""Translating with the Transformer, here and in PyTorch.

    python -m benchmarks.transformer [--threads 1 2] [--sizes small big] [--together 64]

The same weights and the same batches; outputs must agree before anything is timed.  PyTorch runs
eagerly, with its fused attention.  The sentences are random ids as long as captions are, in batches
of similar length.  (`python -m benchmarks --full` times the training step.)

Translating is greedy, or beam search: in PyTorch a plain loop, which keeps the keys and values of
the source and of all tokens before, and goes on until all sources of a batch are done.  16 tokens
are written.  Both are timed in turn in one process, after a warm-up: medians, with the range.
"""

from typing import Any

import numpy as np

from minillm.data import Minibatches, Sequences
from minillm.decoding.beam import beam_search
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.timing.contest import turns

from .pytorch import on_threads, parser, show, tensors
from .torch_models import Translator

SIZES = {
    "small": {"layers": 4, "heads": 4, "width": 128, "feed_forward": 512},
    "big": {"layers": 4, "heads": 4, "width": 256, "feed_forward": 1024},
}
VOCABULARY = 8000
LIMIT = 16  # tokens that are written
BEAMS = (1, 5)


def main() -> None:
    options = parser(__doc__, rounds=7)
    options.add_argument("--sizes", choices=SIZES, nargs="+", default=list(SIZES))
    options.add_argument("--together", type=int, default=64, help="sentences of a batch")
    args = options.parse_args()
    for count in on_threads(args.threads):
        for name in args.sizes:
            print(f"{name} {SIZES[name]}, vocabulary {VOCABULARY}")
            model = fresh(name, shared=False, tied=False)
            model.params["output.b"][model.config.eos] = -100  # never
            ours, _ = random_sentences(max(2 * args.together, 8))
            batches = list(Minibatches((ours,), args.together, seed=0).once())
            translate(model, batches, args.rounds, count)


def fresh(name: str, **options: bool):
    """Make a model of one of SIZES, with random weights."""
    sizes: dict[str, Any] = SIZES[name] | options
    config = TransformerConfig(VOCABULARY, VOCABULARY, **sizes)
    return Transformer(config, np.random.default_rng(0))


def random_sentences(count: int):
    """Make pairs of random ids, as long as captions in English and French; targets end with EOS."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.gamma(9, 1.5, count), 4, 40).astype(int)
    longer = np.clip(lengths * rng.normal(1.1, 0.15, count), 4, 44).astype(int)
    sources = Sequences(rng.integers(0, VOCABULARY, n) for n in lengths)
    targets = Sequences([*rng.integers(0, VOCABULARY, n), VOCABULARY] for n in longer)
    return sources, targets


# --- translating ----------------------------------------------------------------------------


def translate(model, batches, rounds: int, count: int) -> None:
    """Print sentences per second, from ids to ids."""
    import torch

    other = Translator(model.config, tensors(model.params))
    theirs = [tuple(map(torch.from_numpy, batch)) for batch in batches]
    sentences = sum(len(lengths) for _, lengths in batches)
    for beam in BEAMS:

        def ours(beam=beam):
            outputs = [beam_search(model, *batch, beam, LIMIT) for batch in batches]
            return [hypotheses[0].ids for each in outputs for hypotheses in each]

        def pytorch(beam=beam):
            with torch.inference_mode():
                outputs = [other.translate(*batch, beam, LIMIT) for batch in theirs]
            return [ids for each in outputs for ids in each]

        pairs = list(zip(ours(), pytorch(), strict=True))
        same = np.mean([one == other for one, other in pairs])
        assert same > 0.95, f"only {same:.0%} of the outputs are the same"  # some are near ties
        written = np.mean([len(ids) for ids, _ in pairs])
        times = turns({"minillm": ours, "PyTorch eager": pytorch}, 0.0, rounds, count)
        medians = [sentences / np.median(seconds) for seconds in times.values()]
        print(
            f"beam {beam}: {sentences} sentences, {written:.0f} tokens written each, "
            f"{medians[0]:.0f} and {medians[1]:.0f} sentences a second; of one:"
        )
        show(times, each=sentences)


if __name__ == "__main__":
    main()
