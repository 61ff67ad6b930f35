"""A training step of the attention encoder-decoder, here and in PyTorch.

    python -m benchmarks.encoder_decoder_pytorch [--threads 2]

The same weights, the same batches of CMUdict words, the same optimiser (AdamW, clipping at 1),
dropout and label smoothing.  Both losses must agree before anything is timed; then the two are
timed in turn, so that other work of the machine affects both.
"""

import argparse
import os
import time

import numpy as np

SIZES = {"embedding": 256, "hidden": 256}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before either is imported

    import torch

    from minillm import kernels_info
    from minillm.data import Minibatches
    from minillm.data.cmudict import CMUDict
    from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
    from minillm.runs.pairs import encode_pairs
    from minillm.text import build_vocabulary
    from minillm.training import AdamW, clip_global_norm

    torch.set_num_threads(args.threads)
    pairs = list(CMUDict().pairs("training"))[:20_000]
    source = build_vocabulary((word for word, _ in pairs), "character")
    target = build_vocabulary((spoken for _, spoken in pairs), "token")
    columns, _ = encode_pairs(pairs, source, target, longest=100)
    batches = Minibatches(columns, args.batch, seed=0)

    config = EncoderDecoderConfig(len(source), len(target), attention="general", **SIZES)
    rng = np.random.default_rng(0)
    model = EncoderDecoder(config, rng)
    other = pytorch_model(config, model.params)
    optimiser = AdamW(model.params)
    other_optimiser = torch.optim.AdamW(other.parameters(), lr=1e-3, weight_decay=0.01, fused=True)

    batch = batches.next()
    other.eval()
    losses = float(model.loss(batch)[0]), other.loss(batch, smoothing=0.0).item()
    assert abs(losses[0] - losses[1]) < 1e-4, losses
    other.train()

    def step(batch):
        _, backward = model.loss(batch, rng)
        gradients = backward()
        clip_global_norm(gradients, 1.0)
        optimiser.step(gradients, 1e-3)

    def other_step(batch):
        other_optimiser.zero_grad()
        other.loss(batch, config.label_smoothing).backward()
        torch.nn.utils.clip_grad_norm_(other.parameters(), 1.0)
        other_optimiser.step()

    times: dict[str, list[float]] = {"minillm": [], "PyTorch": []}
    for round in range(args.rounds + 1):
        some = [batches.next() for _ in range(args.steps)]
        for name, run in (("minillm", step), ("PyTorch", other_step)):
            start = time.perf_counter()
            for batch in some:
                run(batch)
            if round > 0:  # the first round warms up
                times[name].append((time.perf_counter() - start) / args.steps)
    print(
        f"{config.cell} {config.hidden}, {config.attention} attention, batch {args.batch}, "
        f"{args.threads} threads, {kernels_info()['kernels']} kernels, PyTorch {torch.__version__}"
    )
    for name, seconds in times.items():
        low, middle, high = np.quantile(seconds, [0, 0.5, 1]) * 1e3
        print(f"{name:8} {middle:6.1f} ms a step ({low:.1f} to {high:.1f})")
    print(f"PyTorch / minillm: {np.median(times['PyTorch']) / np.median(times['minillm']):.2f}")


def pytorch_model(config, params):
    """The same model, made of modules of torch.nn, with the same weights."""
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
