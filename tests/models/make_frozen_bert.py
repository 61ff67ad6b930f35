"""Store results of transformers with a random BERT for the tests, which run without it.

Run from the root, with transformers and PyTorch installed:

    PYTHONPATH=.:tests python tests/models/make_frozen_bert.py

frozen_bert.npz has the entries batch/NAME, weight/NAME and gradient/NAME under our names, and
logits, hidden, pooled and loss.
"""

from pathlib import Path

import numpy as np

from minillm.data.masking import Masking, framed
from minillm.models.bert import BERT, BERTConfig

SIZES = {"vocabulary": 30, "context": 12, "layers": 2, "heads": 2, "width": 8, "inner": 12}


def case(seed=0):
    """A model with nonzero biases, and a batch of unequal rows of two parts."""
    config = BERTConfig(**SIZES, pooler=True)
    rng = np.random.default_rng(seed)
    model = BERT(config, rng, dtype=np.float64)
    for array in model.params.values():
        array += 0.2 * rng.standard_normal(array.shape)
    rows = [[rng.integers(5, 30, n), rng.integers(5, 30, m)] for n, m in ((5, 4), (2, 3), (4, 1))]
    texts = framed(rows, 2, 3)
    return model, Masking(4, np.arange(30) > 4).hide(texts, rng)


if __name__ == "__main__":
    import transformers_reference

    model, batch = case()
    model.params = {name: p.astype(np.float32).astype(float) for name, p in model.params.items()}
    logits, hidden, pooled, loss, gradients = transformers_reference.bert(
        model.config, model.params, batch
    )
    arrays = {"logits": logits, "hidden": hidden, "pooled": pooled, "loss": loss}
    arrays |= {f"batch/{name}": entry for name, entry in batch._asdict().items()}
    arrays |= {f"weight/{name}": p.astype(np.float32) for name, p in model.params.items()}
    arrays |= {f"gradient/{name}": g.astype(np.float32) for name, g in gradients.items()}
    np.savez_compressed(Path(__file__).with_name("frozen_bert.npz"), **arrays)
