"""Fine-tuning a chat model with LoRA, here and with PyTorch and peft: speed, memory and losses.

    python -m benchmarks.lora FILE.gguf [--threads 1 2] [--rounds N] [--only speed|memory|losses]

One step of both: rank 8 on all matrices, four conversations of 512 tokens, half of them counted,
and AdamW.  Here the weights stay packed as they are in the file, and products of floats are in
float32 or in bfloat16, the default of `minillm finetune`; or the weights are float32.  PyTorch has
the same weights in float32, or in bfloat16, from a folder of transformers that is made of the file.

speed: tokens per second, medians of interleaved steps.  memory: the largest resident memory of a
process that takes three steps.  losses: the loss on other conversations after steps with the same
data in the same order.  For each matrix of theirs there is an addition of rank 8; ours has one for
queries, keys and values together, and one for gate and up.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from minillm import use_precision
from minillm._kernels import keep_memory
from minillm.data.python_texts import standard_library
from minillm.formats import gguf, huggingface
from minillm.formats.format import Contents
from minillm.models.llama import Llama
from minillm.quantised.matrix import dequantised
from minillm.timing.contest import turns
from minillm.training import AdamW
from minillm.training.conversations import Encoded, packed
from minillm.training.lora import LoRA, new_additions
from minillm.training.packed import Packed
from minillm.training.trained import Trained

from .pytorch import on_threads, parser, peak

B, T, RANK, ALPHA, RATE = 4, 512, 8, 16.0, 7e-4
STEPS = 20  # whose losses are compared
KINDS = ("packed", "packed bfloat16", "float32", "pytorch float32", "pytorch bfloat16")


def main() -> None:
    options = parser(__doc__, rounds=5)
    options.add_argument("file", type=Path)
    options.add_argument("--only", choices=("speed", "memory", "losses"))
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch, keep_memory():  # as `minillm finetune` does
        folder = Path(scratch, "theirs")
        found = gguf.read(args.file)
        model, tokenizer = found.model, found.tokenizer
        huggingface.write(Contents(model, tokenizer), folder)
        if args.only in (None, "memory"):
            memory(args.file, folder)
        if args.only in (None, "losses"):
            losses(args.file, folder)
        if args.only in (None, "speed"):
            speed(args.file, folder, args.threads, args.rounds)


def batch(number: int, vocabulary: int) -> list[Encoded]:
    """Conversations of random tokens; their second half counts."""
    rng = np.random.default_rng(number)
    ids = rng.integers(0, vocabulary, (B, T + 1)).astype(np.int32)
    return [Encoded(row, np.arange(T + 1) > T // 2) for row in ids]


def texts(tokenizer: Any, count: int) -> list[list[Encoded]]:
    """Batches of conversations from the source of the standard library's modules."""
    ids = tokenizer.encode(standard_library()[: 8 * count * B * T])
    rows = ids[: count * B * (T + 1)].reshape(count, B, T + 1).astype(np.int32)
    return [[Encoded(row, np.arange(T + 1) > T // 2) for row in of_batch] for of_batch in rows]


# --- the four ------------------------------------------------------------------------------------

Step = Callable[[list[Encoded]], float]


def made(kind: str, file: Path, folder: Path) -> tuple[Step, Step]:
    """A function that takes a step and returns the loss before it, and one of the loss."""
    if kind.startswith("pytorch"):
        return theirs(folder, kind.split()[1])
    return ours(gguf.read(file).model, kind)


def targets_of(model: Llama) -> list[str]:
    """The names of the matrices in the blocks."""
    return [name for name in model.params if ".W_" in name]


def ours(model: Llama, kind: str) -> tuple[Step, Step]:
    if kind == "float32":
        model = dequantised(model)
    precision = "bfloat16" if kind.endswith("bfloat16") else "float32"
    additions = new_additions(model.params, targets_of(model), RANK, np.random.default_rng(0))
    lora = LoRA(model, additions, ALPHA / RANK)
    trained = Trained(additions, lora)
    trained.mark(model)
    tuned = Packed(model)
    optimiser = AdamW(additions, weight_decay=0.0)

    def step(conversations: list[Encoded]) -> float:
        with use_precision(precision):
            loss, backward = tuned.loss(*packed(conversations).arguments(None))
            gradients = trained.gradients(backward)
        optimiser.step(gradients, RATE)
        trained.merge()
        return float(loss)

    def measured(conversations: list[Encoded]) -> float:
        return float(tuned.loss(*packed(conversations).arguments(None))[0])

    return step, measured


def theirs(folder: Path, dtype: str) -> tuple[Step, Step]:
    """The same with PyTorch and peft."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=modules)
    model = get_peft_model(model, config)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)

    def loss_of(conversations: list[Encoded]) -> Any:
        ids = torch.tensor(np.stack([one.ids for one in conversations]).astype(np.int64))
        counted = torch.tensor(np.stack([one.counted for one in conversations]))
        labels = torch.where(counted, ids, -100)
        return model(input_ids=ids[:, :-1]).logits, labels[:, 1:]

    def cross_entropy(conversations: list[Encoded]) -> Any:
        logits, labels = loss_of(conversations)
        flat = logits.float().reshape(-1, logits.shape[-1])
        return torch.nn.functional.cross_entropy(flat, labels.reshape(-1))

    def step(conversations: list[Encoded]) -> float:
        loss = cross_entropy(conversations)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    def measured(conversations: list[Encoded]) -> float:
        with torch.no_grad():
            return float(cross_entropy(conversations))

    return step, measured


# --- measuring -----------------------------------------------------------------------------------


def speed(file: Path, folder: Path, threads: list[int], rounds: int) -> None:
    """Print the tokens per second of each, on each number of threads."""
    some = batch(0, gguf.read(file).model.config.vocabulary)
    steps = {kind: made(kind, file, folder)[0] for kind in KINDS}
    for _ in on_threads(threads):
        contestants = {kind: partial(step, some) for kind, step in steps.items()}
        times = turns(contestants, 0.0, rounds)
        rates = {kind: B * T / median(seconds) for kind, seconds in times.items()}
        for kind, rate in rates.items():
            against = rate / rates["pytorch float32"]
            print(f"  {kind:17} {rate:7.0f} tokens/s, {against:.2f} times float32 PyTorch")


def memory(file: Path, folder: Path) -> None:
    """Print the largest resident memory of a process of each, of ours without PyTorch."""
    for kind in KINDS:
        without = "" if kind.startswith("pytorch") else "sys.modules['torch'] = None; "
        program = f"import sys; {without}from benchmarks.lora import alone; alone(*sys.argv[1:])"
        command = [sys.executable, "-c", program, kind, str(file), str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"  {kind:17} {int(done.stdout.split()[-1]) / 1e6:6.0f} MB", flush=True)


def alone(kind: str, file: str, folder: str) -> None:
    """Take three steps, and print the largest resident memory in bytes."""
    step, _ = made(kind, Path(file), Path(folder))
    with keep_memory():
        for number in range(3):
            step(batch(number, 49152))
    print(int(peak()))


def losses(file: Path, folder: Path) -> None:
    """Print the loss on other texts, before and after steps, of each."""
    tokenizer = gguf.read(file).tokenizer
    *training, held_out = texts(tokenizer, STEPS + 1)
    for kind in KINDS:
        step, measured = made(kind, file, folder)
        before = measured(held_out)
        for some in training:
            step(some)
        print(f"  {kind:17} {before:.4f} nats before, {measured(held_out):.4f} after", flush=True)


if __name__ == "__main__":
    main()
