"""Freeze what transformers computes with a random GPT-2, for the tests where it is not installed.

Run from the root, with transformers and PyTorch installed:

    python tests/formats/make_frozen_gpt2.py

frozen_gpt2.npz has the entries weight/NAME and gradient/NAME under transformers' names, the ids
(B, T + 1), the logits of the first T of them, and the loss of predicting the last T.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
config = GPT2Config(
    vocab_size=50,
    n_positions=12,
    n_embd=16,
    n_layer=2,
    n_head=4,
    bos_token_id=0,
    eos_token_id=0,
)
model = GPT2LMHeadModel(config).eval()
with torch.no_grad():
    for parameter in model.parameters():  # no bias is zero, no gain one
        parameter += 0.2 * torch.randn_like(parameter)
names = [name for name in model.state_dict() if name != "lm_head.weight"]
weights = {name: model.state_dict()[name].numpy().copy() for name in names}
model = model.double()
ids = torch.randint(50, (2, 12))
logits = model(ids[:, :-1]).logits
loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
loss.backward()
gradients = {name: p.grad.float().numpy() for name, p in model.named_parameters()}

arrays = {"ids": ids.numpy(), "logits": logits.detach().numpy(), "loss": loss.detach().numpy()}
arrays |= {f"weight/{name}": array for name, array in weights.items()}
arrays |= {f"gradient/{name}": array for name, array in gradients.items()}
np.savez_compressed(Path(__file__).with_name("frozen_gpt2.npz"), **arrays)
