"""The pointer-generator in PyTorch, for the training step in training.py.

Sources of different lengths have to be packed, because the encoder reads them in both directions.
Then PyTorch takes several times as long: each step of the recurrence cuts its rows out of all rows,
and each cut has a gradient as large as all of them.  Sources of one length are not packed here.
"""

from .encoder_decoder import with_our_weights


def pytorch_model(config, params):
    """Make the model of a configuration of modules of torch.nn, with our weights."""
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            D, H, V = config.embedding, config.hidden, config.vocabulary + 1
            self.embedding = nn.Embedding(V, D)
            self.encoder = nn.LSTM(D, H, batch_first=True, bidirectional=True)
            self.bridge_h, self.bridge_c = nn.Linear(2 * H, H), nn.Linear(2 * H, H)
            self.decoder = nn.LSTM(D, H, batch_first=True)
            self.attention = nn.Linear(H, 2 * H, bias=False)
            self.combine = nn.Linear(3 * H, D)
            self.gate = nn.Linear(D, 1)
            self.output_bias = nn.Parameter(torch.zeros(V))

        def known(self, ids):
            return torch.where(ids > config.vocabulary, config.unknown, ids)

        def loss(self, batch):
            source, lengths, target, target_lengths = map(torch.from_numpy, batch)
            inputs = torch.cat([torch.full((len(target), 1), config.bos), target[:, :-1]], dim=1)
            x, equal = self.embedding(self.known(source)), bool((lengths == lengths[0]).all())
            if equal:
                memory, (h, c) = self.encoder(x)
            else:
                packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
                memory, (h, c) = self.encoder(packed)
                memory, _ = pad_packed_sequence(memory, batch_first=True)
            h = torch.tanh(self.bridge_h(torch.cat([h[0], h[1]], dim=1)))
            c = self.bridge_c(torch.cat([c[0], c[1]], dim=1))
            hs, _ = self.decoder(self.embedding(self.known(inputs)), (h[None], c[None]))
            scores = self.attention(hs) @ memory.transpose(1, 2)
            if not equal:
                past = torch.arange(memory.shape[1]) >= lengths[:, None]
                scores = scores.masked_fill(past[:, None], -torch.inf)
            weights = torch.softmax(scores, dim=-1)
            a = torch.tanh(self.combine(torch.cat([weights @ memory, hs], dim=-1)))
            real = torch.arange(target.shape[1]) < target_lengths[:, None]
            logits = F.linear(a[real], self.embedding.weight, self.output_bias)
            g = torch.sigmoid(self.gate(a[real])[:, 0])
            same = source[:, None] == target[:, :, None]
            copied = (weights * same).sum(dim=-1)[real]
            # An ignored target has a loss of 0: the vocabulary lacks it.
            words = torch.where(target > config.vocabulary, -100, target)[real]
            p = torch.exp(-F.cross_entropy(logits, words, reduction="none")) * (words >= 0)
            return -torch.log(g * p + (1 - g) * copied).mean()

    model, dense = Model(), ("bridge_h", "bridge_c", "attention", "combine", "gate")
    weights = dict(params) | {"output_bias": params["output.b"]}
    return with_our_weights(model, weights, {"embedding": "embedding.E"}, dense)
