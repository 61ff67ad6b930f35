"""A fine-tuned chat model in other programs: the perplexity of its exports, theirs and ours.

    python -m benchmarks.exported RUN FILE.gguf [--tokens 2048]

RUN is a run of `minillm finetune` over the weights of FILE.  It is exported as a GGUF file with the
additions merged (float32, Q8_0, Q4_0), which llama.cpp loads through the package llama-cpp-python,
and as a folder and an adapter, which transformers and peft load.  The text is from the built-in
corpus, in windows of 512 tokens.  Our figure is measured on the exported file,
read again; for an adapter, on the run.  Packages that are not installed are left out.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minillm
from minillm.data.python_texts import builtin_corpus
from minillm.formats import gguf, huggingface
from minillm.formats.format import Contents
from minillm.ops.softmax import log_softmax
from minillm.quantised.matrix import dequantised
from minillm.runs.conversion import quantise

WINDOW = 512
Logits = Callable[[NDArray], NDArray]  # ids (T,) -> logits (T, V)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("run", type=Path)
    options.add_argument("file", type=Path)
    options.add_argument("--tokens", type=int, default=2048)
    args = options.parse_args()
    run = minillm.load(args.run)
    ids = run.tokenizer.encode(builtin_corpus()[: 8 * args.tokens])[: args.tokens]
    windows = ids[: len(ids) // WINDOW * WINDOW].reshape(-1, WINDOW)
    print(f"{windows.size:,} tokens of the built-in corpus")
    with tempfile.TemporaryDirectory() as folder:
        for check in (in_llama_cpp, in_transformers):
            try:
                check(run, args.file, Path(folder), windows)
            except ModuleNotFoundError as error:
                print(f"  {error}")


def perplexity(logits_of: Logits, windows: NDArray) -> float:
    """Exp of the mean loss of each token but the first of a window."""
    losses = [
        -log_softmax(logits_of(ids)[:-1].astype(np.float64))[np.arange(WINDOW - 1), ids[1:]]
        for ids in windows
    ]
    return float(np.exp(np.mean(losses)))


def ours(model: Any) -> Logits:
    """The logits of one of our models."""
    return lambda ids: model.forward(ids[None])[0][0]


def report(name: str, here: float, there: float) -> None:
    """Print a line."""
    print(f"  {name:32} {here:8.3f} ours {there:8.3f} theirs {there / here - 1:+8.3%}", flush=True)


def in_llama_cpp(run: Any, base: Path, folder: Path, windows: NDArray) -> None:
    """Compare with llama.cpp."""
    import llama_cpp

    def theirs(file: Path) -> Logits:
        options: dict[str, Any] = {"n_ctx": WINDOW, "n_batch": WINDOW, "verbose": False}
        model = llama_cpp.Llama(str(file), logits_all=True, **options)

        def logits(ids: NDArray) -> NDArray:
            model.reset()
            model.eval(ids.tolist())
            return np.array(model.scores[:WINDOW])

        return logits

    for type in ("f32", "q8_0", "q4_0"):
        file = folder / f"{type}.gguf"
        quantise(run.path, type.upper(), folder / type)
        minillm.load(folder / type).export(file, "gguf")
        here = perplexity(ours(gguf.read(file).model), windows)
        report(f"llama.cpp, merged, {type}", here, perplexity(theirs(file), windows))


def in_transformers(run: Any, base: Path, folder: Path, windows: NDArray) -> None:
    """Compare with transformers and peft, in float32."""
    import torch
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    def theirs(model: Any) -> Logits:
        def logits(ids: NDArray) -> NDArray:
            with torch.no_grad():
                return model(torch.tensor(ids[None].astype(np.int64))).logits[0].numpy()

        return logits

    here = perplexity(ours(dequantised(run.model)), windows)
    run.export(folder / "whole", "huggingface")
    whole = LlamaForCausalLM.from_pretrained(folder / "whole", dtype=torch.float32)
    report("transformers, merged", here, perplexity(theirs(whole), windows))
    found = gguf.read(base)
    model, tokenizer = found.model, found.tokenizer
    huggingface.write(Contents(model, tokenizer), folder / "base")
    run.export(folder / "adapter", "peft")
    plain = LlamaForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    adapted = PeftModel.from_pretrained(plain, folder / "adapter")
    report("transformers and peft, adapter", here, perplexity(theirs(adapted), windows))


if __name__ == "__main__":
    main()
