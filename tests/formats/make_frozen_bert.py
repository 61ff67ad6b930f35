"""Freeze what transformers computes with a random BERT, for the tests where it is not installed.

Run from the root, with transformers and PyTorch installed:

    python tests/formats/make_frozen_bert.py

frozen_bert.npz has the entries weight/NAME under transformers' names, as it stores them; ids,
segments (B, T) and lengths (B,); logits (B, T, V) and hidden (B, T, D), in float64.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM

torch.manual_seed(0)
config = BertConfig(
    vocab_size=40,
    max_position_embeddings=12,
    num_hidden_layers=2,
    num_attention_heads=4,
    hidden_size=16,
    intermediate_size=24,
)
model = BertForMaskedLM(config).eval()
with torch.no_grad():
    for parameter in model.parameters():  # no bias is zero, no gain one
        parameter += 0.2 * torch.randn_like(parameter)
weights = {name: array.numpy().copy() for name, array in model.state_dict().items()}
for tied in ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"):
    del weights[tied]
ids, segments = torch.randint(40, (3, 9)), torch.randint(2, (3, 9))
lengths = torch.tensor([9, 4, 2])
model = model.double()
inputs = {
    "input_ids": ids,
    "token_type_ids": segments,
    "attention_mask": (torch.arange(9) < lengths[:, None]).long(),
}
with torch.no_grad():
    logits, hidden = model(**inputs).logits, model.bert(**inputs).last_hidden_state

arrays = {"ids": ids, "segments": segments, "lengths": lengths, "logits": logits, "hidden": hidden}
arrays = {name: array.numpy() for name, array in arrays.items()}
arrays |= {f"weight/{name}": array for name, array in weights.items()}
np.savez_compressed(Path(__file__).with_name("frozen_bert.npz"), **arrays)
