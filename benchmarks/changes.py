"""From GPT-2 to Llama: what each change gains alone, and all of them, after equal time.

    python -m benchmarks.changes TEXT [TEXT ...] --out FILE.jsonl [--seconds 45] [--seeds 3]

Each variant is trained with AdamW and with Muon, from several seeds.  The first text gets all
variants, the others get the first and the last one.  Sizes, rates and the measure are the defaults
of `train gpt` and `train llama`; there is no dropout.  All have the same time on one thread: first,
steps of all variants are timed in turns, which needs an idle machine (`--processes 0` does no
more).  A training then has as many steps as fit into the seconds, so that its result does not
depend on what else runs.  Validation is not counted.

FILE gets a line for each time and each training.  What it has already is not done again: delete it
for other seconds.  The table is printed from the file.
"""

import argparse
import json
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import described, machine
from minillm import ops
from minillm.data import RandomWindows, read_text, split_text
from minillm.layers import embedding
from minillm.layers.block import pre_norm
from minillm.layers.dense import feed_forward, gated_feed_forward
from minillm.layers.fresh import ParamSpec
from minillm.layers.heads import causal, self_attention
from minillm.layers.stack import stacked
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.runs.kinds.language import LLAMA, RATE
from minillm.text import build_vocabulary
from minillm.timing.contest import threads, turns
from minillm.training import Options, clip_global_norm, new_optimiser, train
from minillm.training.language_model import WindowTask


@dataclass(frozen=True)
class Config(LlamaConfig):
    """The sizes of a Llama, and which of its changes to GPT-2 are made."""

    rms_norm: bool = False
    rotary: bool = False
    swiglu: bool = False
    biases: bool = True


ALL = {"rms_norm": True, "rotary": True, "swiglu": True, "biases": False, "key_heads": 2}
VARIANTS: dict[str, dict[str, Any]] = {
    "GPT-2's recipe": {},
    "RMSNorm": {"rms_norm": True},
    "rotary positions": {"rotary": True},
    "SwiGLU": {"swiglu": True},
    "no biases": {"biases": False},
    "two queries share a key": {"key_heads": 2},
    "an output of its own": {"tied": False},
    "all but the last": ALL,
}
ENDS = ("GPT-2's recipe", "all but the last")
OPTIMISERS = {"adamw": "AdamW", "muon": "Muon"}


class Between(Llama):
    """A model between GPT-2 and Llama, made of the layers of both."""

    @staticmethod
    def new_parameters(config: Any) -> dict[str, ParamSpec]:
        """Declare GPT-2's weights, or Llama's where a part is changed."""
        c, changed = config, [".b_"]  # biases have the shapes of their matrices: see below
        parts = {".bias": c.rms_norm, "positions.": c.rotary, ".feed_forward.": c.swiglu}
        changed += [part for part, is_changed in parts.items() if is_changed]
        gpt = GPT.new_parameters(GPTConfig(c.vocabulary, c.context, c.layers, c.heads, c.width))
        params = {n: fresh for n, fresh in gpt.items() if not any(part in n for part in changed)}
        for name, fresh in Llama.new_parameters(config).items():
            if name in params or name == "output.W" or (c.swiglu and ".feed_forward." in name):
                params[name] = fresh
        matrices = {n: fresh for n, fresh in params.items() if ".W_" in n and c.biases}
        return params | {
            n.replace(".W_", ".b_"): ParamSpec(f.shape[1:]) for n, f in matrices.items()
        }

    def hidden(self, ids, rng=None):
        """The vector that predicts the token after each id, without dropout: (B, T, D)."""
        c, p = self.config, self.params
        positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        tables = {"embedding.E": ids} | ({} if c.rotary else {"positions.E": positions})
        embedded = embedding.layer(p, tables)
        rotate = partial(ops.rotary, positions=positions, base=c.rotary_base) if c.rotary else None
        blocks = {
            prefix: partial(self.block, prefix, rotate=rotate)
            for prefix in (f"blocks.{layer}" for layer in range(c.layers))
        }
        return stacked(p, embedded, blocks, ["embedding", "positions"])

    def block(self, prefix, x, rotate):
        """The block of both: x (B, T, D) -> (B, T, D)."""
        c, p = self.config, self.params
        forward = gated_feed_forward if c.swiglu else feed_forward

        def attention(x):
            name = f"{prefix}.attention"
            return self_attention(p, name, x, c.heads, causal, c.key_heads, rotate)

        branches = {
            f"{prefix}.norm_1": attention,
            f"{prefix}.norm_2": lambda x: forward(p, f"{prefix}.feed_forward", x),
        }
        return pre_norm(p, branches, x)


class Run(NamedTuple):
    """A training task on the text with this name."""

    text: str
    variant: str
    optimiser: str
    seed: int = 0


class Training:
    """A run's model, optimiser and data, as `train llama` makes them."""

    def __init__(self, run: Run, path: str):
        self.settings = s = LLAMA.settings(optimiser=run.optimiser, seed=run.seed)
        self.rate, self.rng = RATE / s.width, np.random.default_rng(s.seed)
        texts = split_text(read_text([path]))
        characters = build_vocabulary(texts, s.unit)
        training, validation = (characters.encode(text) for text in texts)
        self.model = Between(Config(len(characters), s.context, **VARIANTS[run.variant]), self.rng)
        self.optimiser = new_optimiser(s.optimiser, self.model.params, s)
        windows = RandomWindows(training, s.batch, s.context, s.seed)
        self.task = WindowTask(self.model, windows, validation, s.batch, s.validation_tokens)

    def step(self) -> None:
        """Take a step, to be timed."""
        _, backward, _ = self.task.training_loss(self.rng)
        gradients = dict(backward())
        clip_global_norm(gradients, self.settings.clip)
        self.optimiser.step(gradients, self.rate)

    def loss_after(self, steps: int) -> float:
        """Train, and return the best validation loss in nats per character."""
        options = Options(steps=steps, learning_rate=self.rate, validations=2)
        summary = train(self.model.params, self.optimiser, self.task, options, self.rng, quiet=True)
        if summary.interrupted:
            raise RuntimeError("a training was interrupted")  # it is no result
        return summary.best_loss


def trained(job: tuple[Run, str, int]) -> dict[str, Any]:
    """The line of a run that is trained for a number of steps on a file."""
    run, path, steps = job
    with threads(1):
        return run._asdict() | {"steps": steps, "loss": Training(run, path).loss_after(steps)}


def table(losses: dict[Run, float], steps: dict[Run, int]) -> str:
    """The mean and the standard deviation of each cell, as Markdown."""
    heads = "".join(f" steps | {name} |" for name in OPTIMISERS.values())
    rows = [f"| text | variant |{heads}", "|---|---|" + "--:|--:|" * len(OPTIMISERS)]
    for text, variant in dict.fromkeys((run.text, run.variant) for run in losses):
        row = f"| {text} | {variant} |"
        for optimiser in OPTIMISERS:
            found = [run for run in losses if run[:3] == (text, variant, optimiser)]
            values = [losses[run] for run in found]
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            row += f" {steps[found[0]]:,} | {np.mean(values):.3f}{spread} |" if found else " | |"
        rows.append(row)
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=45.0, help="of each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    paths = {
        Run(Path(path).stem, variant, optimiser, seed): path
        for seed, path in product(range(args.seeds), args.texts)  # the first seed comes first
        for variant, optimiser in product(VARIANTS if path == args.texts[0] else ENDS, OPTIMISERS)
    }
    with args.out.open("a+", buffering=1) as file:
        file.seek(0)
        lines = [json.loads(line) for line in file]

        def keep(line: dict[str, Any]) -> None:
            lines.append(line)
            print(json.dumps(line), file=file)

        def known(field: str) -> dict[Run, Any]:
            found = (line for line in lines if field in line)
            return {Run(*(line[name] for name in Run._fields)): line[field] for line in found}

        times, done = known("milliseconds"), known("loss")
        if untimed := [run for run in paths if run.seed == 0 and run not in times]:
            keep({"machine": described(machine())})
            with threads(1):
                taken = turns({run: Training(run, paths[run]).step for run in untimed}, 60.0)
            for run, seconds in taken.items():
                times[run] = round(1e3 * float(np.median(seconds)), 3)
                keep(run._asdict() | {"milliseconds": times[run]})
        steps = {run: round(1e3 * args.seconds / times[run._replace(seed=0)]) for run in paths}
        jobs = [(run, path, steps[run]) for run, path in paths.items() if run not in done]
        if args.processes:
            with get_context("spawn").Pool(args.processes) as pool:
                for line in pool.imap_unordered(trained, jobs):
                    keep(line)
        print(table(known("loss"), known("steps")))


if __name__ == "__main__":
    main()
