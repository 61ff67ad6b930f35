"""Store random models of transformers, their logits and gradients, for the tests without it.

Run from the root, with transformers and PyTorch installed:

    python tests/formats/make_frozen_decoders.py

frozen_gpt2.npz and frozen_mamba.npz have the entries weight/NAME and gradient/NAME under
transformers' names, the ids (B, T + 1), the logits of the first T of them, and the loss of
predicting the last T.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM

ENDS = {"bos_token_id": None, "eos_token_id": None}
OF_GPT2 = {"n_positions": 12, "n_embd": 16, "n_layer": 2, "n_head": 4}
OF_MAMBA = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "state_size": 3,
    "conv_kernel": 3,
    "intermediate_size": 12,
    "time_step_rank": 2,
    "layer_norm_epsilon": 1e-3,
    "pad_token_id": None,
}
MODELS = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(vocab_size=50, **OF_GPT2, **ENDS), (2, 12), True),
    "mamba": (MambaForCausalLM, MambaConfig(vocab_size=50, **OF_MAMBA, **ENDS), (2, 15), False),
}

for name, (Model, config, shape, in_double) in MODELS.items():
    torch.manual_seed(0)
    model = Model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # no bias is zero, no gain one
            parameter += 0.2 * torch.randn_like(parameter)
    names = [name for name in model.state_dict() if name != "lm_head.weight"]
    weights = {name: model.state_dict()[name].numpy().copy() for name in names}
    model = model.double() if in_double else model
    ids = torch.randint(50, shape)
    logits = model(ids[:, :-1]).logits
    loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    gradients = {name: p.grad.float().numpy() for name, p in model.named_parameters()}
    arrays = {"ids": ids.numpy(), "logits": logits.detach().numpy(), "loss": loss.detach().numpy()}
    arrays |= {f"weight/{name}": array for name, array in weights.items()}
    arrays |= {f"gradient/{name}": array for name, array in gradients.items()}
    np.savez_compressed(Path(__file__).with_name(f"frozen_{name}.npz"), **arrays)
