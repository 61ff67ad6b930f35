"""Freeze what transformers computes with a random Mamba, for the tests where it is not installed.

Run from the root, with transformers and PyTorch installed:

    python tests/formats/make_frozen_mamba.py

frozen_mamba.npz has the entries weight/NAME and gradient/NAME under transformers' names, the ids
(B, T + 1), the logits of the first T of them, and the loss of predicting the last T.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import MambaConfig, MambaForCausalLM

torch.manual_seed(0)
config = MambaConfig(
    vocab_size=50,
    hidden_size=8,
    num_hidden_layers=2,
    state_size=3,
    conv_kernel=3,
    intermediate_size=12,
    time_step_rank=2,
    layer_norm_epsilon=1e-3,
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=None,
)
model = MambaForCausalLM(config).eval()
with torch.no_grad():
    for parameter in model.parameters():  # no bias is zero, no gain one
        parameter += 0.3 * torch.randn_like(parameter)
names = [name for name in model.state_dict() if name != "lm_head.weight"]
weights = {name: model.state_dict()[name].numpy().copy() for name in names}
ids = torch.randint(50, (2, 15))
logits = model(ids[:, :-1]).logits
loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
loss.backward()
gradients = {name: p.grad.numpy() for name, p in model.named_parameters()}

arrays = {"ids": ids.numpy(), "logits": logits.detach().numpy(), "loss": loss.detach().numpy()}
arrays |= {f"weight/{name}": array for name, array in weights.items()}
arrays |= {f"gradient/{name}": array for name, array in gradients.items()}
np.savez_compressed(Path(__file__).with_name("frozen_mamba.npz"), **arrays)
