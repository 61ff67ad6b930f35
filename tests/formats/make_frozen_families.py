"""Freeze what transformers computes with random decoders after Llama, for tests without it.

Run from the root, with transformers and PyTorch installed:

    PYTHONPATH=tests python tests/formats/make_frozen_families.py

frozen_families.npz has, for each family, FAMILY/config, the text of config.json, FAMILY/weight/NAME
under transformers' names, FAMILY/ids (T,), and FAMILY/logits of the last two of them.
"""

from pathlib import Path

import numpy as np
import torch
from decoders_reference import FAMILIES, random_decoder

TINY = {"hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 3}

arrays = {}
for family in FAMILIES:
    vocabulary = 257  # all bytes, and the end of a text
    model = random_decoder(family, vocabulary, **TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())  # half a file
        ids = torch.randint(vocabulary, (1, 16))
        logits = model(ids).logits[0, -2:]
    weights = dict(model.named_parameters())  # without a second name of a tied table
    arrays |= {
        f"{family}/config": np.array(model.config.to_json_string(use_diff=False)),
        f"{family}/ids": ids[0].numpy().astype(np.int16),
        f"{family}/logits": logits.numpy(),
        **{f"{family}/weight/{n}": w.detach().half().numpy() for n, w in weights.items()},
    }
np.savez_compressed(Path(__file__).with_name("frozen_families.npz"), **arrays)
