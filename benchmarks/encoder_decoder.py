"""A training step of the attention encoder-decoder, here and in PyTorch.

    python -m benchmarks.encoder_decoder [--threads 1 2] [--batch 128]

The same weights, the same batches of CMUdict words, the same optimiser (AdamW, clipping at 1),
dropout and label smoothing.  Both losses must agree before anything is timed; then the two are
timed in turn, so that other work of the machine affects both.
"""

import itertools

import numpy as np

from minillm.data import Minibatches, Sequences
from minillm.data.cmudict import CMUDict
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.text import build_vocabulary

from .pytorch import in_turns, on_threads, our_step, parser, show

SIZES = {"embedding": 256, "hidden": 256}
STEPS = 10  # in a turn


def main() -> None:
    import torch

    options = parser(__doc__, rounds=7)
    options.add_argument("--batch", type=int, default=128)
    args = options.parse_args()
    pairs = list(CMUDict().pairs("training"))[:20_000]
    source = build_vocabulary((word for word, _ in pairs), "character")
    target = build_vocabulary((spoken for _, spoken in pairs), "token")
    columns = (
        Sequences(source.encode(word) for word, _ in pairs),
        Sequences([*target.encode(spoken), len(target)] for _, spoken in pairs),  # EOS
    )
    batches = Minibatches(columns, args.batch, seed=0)
    some = [batches.next() for _ in range(STEPS)]
    config = EncoderDecoderConfig(len(source), len(target), attention="general", **SIZES)
    for count in on_threads(args.threads):
        model = EncoderDecoder(config, np.random.default_rng(0))
        other = pytorch_model(config, model.params)
        optimiser = torch.optim.AdamW(other.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
        other.eval()
        losses = float(model.loss(some[0])[0]), other.loss(some[0], smoothing=0.0).item()
        assert abs(losses[0] - losses[1]) < 1e-4, losses
        other.train()
        step, following = our_step(model, some), itertools.cycle(some)

        def ours(step=step):
            for _ in range(STEPS):
                step()

        def theirs(other=other, optimiser=optimiser, following=following):
            for _ in range(STEPS):
                optimiser.zero_grad()
                other.loss(next(following), config.label_smoothing).backward()
                torch.nn.utils.clip_grad_norm_(other.parameters(), 1.0)
                optimiser.step()

        print(f"{config.cell} {config.hidden}, {config.attention} attention, batch {args.batch}")
        show(in_turns({"minillm": ours, "PyTorch eager": theirs}, args.rounds, count), each=STEPS)


def pytorch_model(config, params):
    """Make the same model of modules of torch.nn, with the same weights."""
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
            self.dropout = nn.Dropout(config.dropout)

        def loss(self, batch, smoothing):
            source, source_lengths, target, target_lengths = map(torch.from_numpy, batch)
            inputs = torch.cat([torch.full((len(target), 1), config.bos), target[:, :-1]], dim=1)
            packed = pack_padded_sequence(
                self.dropout(self.source(source)),
                source_lengths,
                batch_first=True,
                enforce_sorted=False,
            )
            memory, (h, c) = self.encoder(packed)
            memory, _ = pad_packed_sequence(memory, batch_first=True)
            h = torch.tanh(self.bridge_h(torch.cat([h[0], h[1]], dim=1)))
            c = self.bridge_c(torch.cat([c[0], c[1]], dim=1))
            hs, _ = self.decoder(self.dropout(self.target(inputs)), (h[None], c[None]))
            scores = self.attention(hs) @ memory.transpose(1, 2)
            past = torch.arange(memory.shape[1]) >= source_lengths[:, None]
            weights = torch.softmax(scores.masked_fill(past[:, None], -torch.inf), dim=-1)
            combined = torch.tanh(self.combine(torch.cat([weights @ memory, hs], dim=-1)))
            real = torch.arange(target.shape[1]) < target_lengths[:, None]
            logits = self.output(self.dropout(combined)[real])
            return nn.functional.cross_entropy(logits, target[real], label_smoothing=smoothing)

    model = Model()
    ours = {
        "source.weight": params["source.E"],
        "target.weight": params["target.E"],
        "attention.weight": params["attention.W"].T,
    }
    for name, prefix in (
        ("bridge_h", "bridge.0.h"),
        ("bridge_c", "bridge.0.c"),
        ("combine", "combine"),
        ("output", "output"),
    ):
        ours[f"{name}.weight"] = params[f"{prefix}.W"].T
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
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(ours[name])))
    return model


if __name__ == "__main__":
    main()
