"""The attention encoder-decoder in PyTorch, for the training step in training.py."""

import numpy as np


def pytorch_model(config, params):
    """Make the model of a configuration of modules of torch.nn, with our weights."""
    import torch
    from torch import nn
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            D, H, V = config.embedding, config.hidden, config.target_vocabulary + 1
            self.source = nn.Embedding(config.source_vocabulary, D)
            self.target = nn.Embedding(V, D)
            self.encoder = nn.LSTM(D, H, batch_first=True, bidirectional=True)
            self.bridge_h, self.bridge_c = nn.Linear(2 * H, H), nn.Linear(2 * H, H)
            self.decoder = nn.LSTM(D, H, batch_first=True)
            self.attention = nn.Linear(H, 2 * H, bias=False)
            self.combine = nn.Linear(3 * H, H)
            self.output = nn.Linear(H, V)

        def loss(self, batch):
            source, source_lengths, target, target_lengths = map(torch.from_numpy, batch)
            inputs = torch.cat([torch.full((len(target), 1), config.bos), target[:, :-1]], dim=1)
            packed = pack_padded_sequence(
                self.source(source), source_lengths, batch_first=True, enforce_sorted=False
            )
            memory, (h, c) = self.encoder(packed)
            memory, _ = pad_packed_sequence(memory, batch_first=True)
            h = torch.tanh(self.bridge_h(torch.cat([h[0], h[1]], dim=1)))
            c = self.bridge_c(torch.cat([c[0], c[1]], dim=1))
            hs, _ = self.decoder(self.target(inputs), (h[None], c[None]))
            past = torch.arange(memory.shape[1]) >= source_lengths[:, None]
            scores = self.attention(hs) @ memory.transpose(1, 2)
            weights = torch.softmax(scores.masked_fill(past[:, None], -torch.inf), dim=-1)
            a = torch.tanh(self.combine(torch.cat([weights @ memory, hs], dim=-1)))
            real = torch.arange(target.shape[1]) < target_lengths[:, None]
            return nn.functional.cross_entropy(self.output(a[real]), target[real])

    tables = {"source": "source.E", "target": "target.E"}
    dense = ("bridge_h", "bridge_c", "attention", "combine", "output")
    return with_our_weights(Model(), params, tables, dense)


def with_our_weights(model, params, tables, dense):
    """Copy our weights to a model of one layer on each side.

    ``tables`` has our name of each embedding, ``dense`` the names of other modules.  All other
    parameters of the model have our names.
    """
    import torch

    ours = {f"{name}.weight": params[table] for name, table in tables.items()}
    for name in dense:
        prefix = name.replace("bridge_", "bridge.0.")
        ours[f"{name}.weight"] = params[f"{prefix}.W"].T
        if f"{prefix}.b" in params:
            ours[f"{name}.bias"] = params[f"{prefix}.b"]
    for name, prefix in (
        ("encoder.{}_l0", "encoder.0.forward"),
        ("encoder.{}_l0_reverse", "encoder.0.reverse"),
        ("decoder.{}_l0", "decoder.0"),
    ):
        ours[name.format("weight_ih")] = params[f"{prefix}.W_x"].T
        ours[name.format("weight_hh")] = params[f"{prefix}.W_h"].T
        ours[name.format("bias_ih")] = params[f"{prefix}.b"]
        ours[name.format("bias_hh")] = 0 * params[f"{prefix}.b"]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            array = ours[name] if name in ours else params[name]
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))
    return model
