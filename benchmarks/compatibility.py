"""Which files of other programs are read, and how far our results are from theirs.

    python -m benchmarks.compatibility [--only shapes types] [--out docs/outputs]

Each row makes a random model with the other program, imports it, and compares.  A difference is the
largest one, as a share of the range of their numbers.  A row whose libraries are not installed has
dashes.  The libraries are transformers, gguf and llama-cpp-python.
"""

import argparse
import importlib.metadata
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import minillm
from minillm.decoding import Continuation, Sampling, write
from minillm.errors import InputError, one_line
from minillm.formats.format import Contents
from minillm.formats.gguf import write as write_gguf
from minillm.models.llama import Llama, LlamaConfig
from minillm.quantised.gguf import open_gguf
from minillm.quantised.matrix import dequantised
from minillm.text import (
    tokenizer_files,
)
from minillm.text.byte_pairs import train

LIBRARIES = ("transformers", "tokenizers", "gguf", "llama-cpp-python")
T = 30  # tokens that are read
WRITTEN = 20  # tokens that are written
SHORT = 8  # tokens that llama.cpp reads: it has no window in a Mistral and a Phi-3

Check = Callable[[Path], Sequence[Any]]  # the cells of a row; the folder is its own


class Group(NamedTuple):
    """Rows of one table: the name of each, and its check."""

    title: str
    heads: Sequence[str]
    rows: Iterator[tuple[str, Check]]


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    warnings.simplefilter("ignore")
    command = "$ python -m benchmarks.compatibility"
    if args.only != list(GROUPS):
        command += f" --only {' '.join(args.only)}"
    lines = ["```console", command, "```", "", versions(), ""]
    for name in args.only:
        group = GROUPS[name]()
        lines += [f"**{group.title}**", "", row_of(group.heads), row_of(["---"] * len(group.heads))]
        for title, check in group.rows:
            lines.append(row_of([title, *cells_of(check, len(group.heads) - 1)]))
            print(lines[-1], flush=True)
        lines.append("")
    if args.out:
        (args.out / "compatibility.md").write_text("\n".join(lines))


def cells_of(check: Check, count: int) -> list[str]:
    """The cells of a row, or dashes where a library is missing, or the reason of a refusal."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINILLM_CACHE"] = folder  # where minillm.load imports to
        found: list[Any] = []
        try:
            for cell in check(Path(folder)):
                found.append(cell)
        except ImportError:
            pass
        except InputError as error:
            found.append(f"refused: {one_line(error.args[0].rpartition('/')[2], 100)}")
    cells = [f"{cell:.1e}" if isinstance(cell, float) else str(cell) for cell in found]
    return cells + ["-"] * (count - len(cells))


def row_of(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def versions() -> str:
    """The libraries that are installed."""
    found = []
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return f"Beside {', '.join(found) or 'nothing'}."


def difference(ours: NDArray, theirs: NDArray) -> float:
    """The largest difference, as a share of the range of theirs."""
    return float(np.abs(ours - theirs).max() / np.ptp(theirs))


def ids_below(V: int, length: int = T) -> NDArray[np.int64]:
    """Random ids (T,)."""
    return np.random.default_rng(3).integers(0, V, length)


def varied(model: Any) -> Any:
    """A model of PyTorch in which no gain is one, no bias is zero and no branch negligible."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


def their_logits(model: Any, ids: NDArray) -> NDArray:
    """The logits (T, V) of a model of transformers."""
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(ids[None])).logits[0].numpy()


@cache
def llama_cpp_quietly() -> tuple[Any, Any]:
    """The module llama_cpp, and the function that drops its lines, which has to be kept."""
    import llama_cpp

    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, None)
    return llama_cpp, quiet


def in_llama_cpp(path: Path, ids: NDArray) -> NDArray:
    """The logits (T, V) of llama.cpp, with a cache in float32."""
    llama_cpp, _ = llama_cpp_quietly()
    options: dict[str, Any] = {"type_k": 0, "type_v": 0, "flash_attn": False, "verbose": False}
    model = llama_cpp.Llama(str(path), n_ctx=64, n_batch=64, logits_all=True, **options)
    model.eval(ids.tolist())
    return np.array(model.scores[: len(ids)])


# --- shapes ----------------------------------------------------------------------------------

BYTES = train(["she sells sea shells by the sea shore\n"], 262)
SIZES = {
    "vocab_size": len(BYTES), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 7,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
OF_GPT2 = {
    "vocab_size": len(BYTES), "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
OF_MAMBA = {
    "vocab_size": len(BYTES), "hidden_size": 32, "num_hidden_layers": 3, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
ANGLES = {"rope_theta": 5e5, "original_max_position_embeddings": 16}


def scaled(kind: str, **values: Any) -> dict[str, Any]:
    """Rotary angles that are scaled."""
    return {"rope_parameters": {"rope_type": kind, "factor": 4.0, **ANGLES, **values}}


# A name, the class in transformers before "Config" and "ForCausalLM", and entries of the config.
SHAPES: list[tuple[str, str, dict[str, Any]]] = [
    ("GPT-2", "GPT2", OF_GPT2),
    ("GPT-2, padded to 320 rows", "GPT2", OF_GPT2 | {"vocab_size": 320}),
    ("Llama", "Llama", {}),
    ("Llama, tied, one head of keys", "Llama", {"tie_word_embeddings": True}
     | {"num_key_value_heads": 1}),
    ("Llama, padded to 320 rows", "Llama", {"vocab_size": 320}),
    ("Llama 3.1", "Llama", scaled("llama3", low_freq_factor=1.0, high_freq_factor=4.0)
     | {"original_max_position_embeddings": 8192}),
    ("Llama, linear angles", "Llama", scaled("linear")),
    ("Llama, YaRN", "Llama", scaled("yarn")),
    ("Mistral", "Mistral", {"sliding_window": 8}),
    ("Qwen 2", "Qwen2", {"tie_word_embeddings": True}),
    ("Qwen 3", "Qwen3", {"head_dim": 12}),
    ("SmolLM 3", "SmolLM3", {"no_rope_layer_interval": 4}),
    ("Gemma 3", "Gemma3Text", {"head_dim": 12, "sliding_window": 8, "sliding_window_pattern": 3}
     | {"query_pre_attn_scalar": 12}),
    ("Phi-3", "Phi3", {"sliding_window": 9}),
    ("Mamba", "Mamba", OF_MAMBA),
    ("Mamba, untied, padded to 320 rows", "Mamba", OF_MAMBA | {"vocab_size": 320}
     | {"tie_word_embeddings": False}),
]  # fmt: skip


def shapes() -> Group:
    """Folders of transformers, both ways, and GGUF files of the same models in llama.cpp."""
    heads = ("model", "read", "greedy tokens", "written", "GGUF, read again", "in llama.cpp")
    rows = ((name, shape(family, entries)) for name, family, entries in SHAPES)
    return Group("Shapes, with random weights: logits beside transformers", heads, rows)


def random_model(family: str, entries: Mapping[str, Any], folder: Path) -> Any:
    """A random model of transformers, saved in a folder with a tokenizer."""
    import transformers

    sizes = {} if family in ("GPT2", "Mamba") else SIZES
    config = getattr(transformers, f"{family}Config")(**{**sizes, **entries})
    model = varied(transformers.AutoModelForCausalLM.from_config(config))
    model.save_pretrained(folder)
    for name, content in tokenizer_files(BYTES).items():
        (folder / name).write_bytes(content)
    return model


def shape(family: str, entries: Mapping[str, Any]) -> Check:
    """The row of a shape."""

    def check(folder: Path) -> Iterator[Any]:
        import torch
        import transformers

        theirs, ids = random_model(family, entries, folder / "theirs"), ids_below(len(BYTES))
        expected = their_logits(theirs, ids)
        run = minillm.load(folder / "theirs")
        if family == "Mamba":
            (ours, _), _ = run.model.forward(ids[None], run.model.zero_state(1))
        else:
            ours, _ = run.model.forward(ids[None])
        yield difference(ours[0], expected)
        expected_ids = theirs.generate(
            torch.from_numpy(ids[None]), do_sample=False, max_new_tokens=WRITTEN
        )[0, T:].tolist()
        text = Continuation(ids.tolist(), WRITTEN, Sampling(temperature=0))
        found = list(write(run.model, text))
        yield f"{sum(map(int.__eq__, found, expected_ids))} of {WRITTEN}"
        run.export(folder / "ours", format="huggingface")
        again = transformers.AutoModelForCausalLM.from_pretrained(folder / "ours", dtype="float32")
        yield difference(their_logits(again.eval(), ids), expected)
        if family in ("GPT2", "Mamba"):
            return
        file = folder / "ours.gguf"
        run.export(file)
        yield difference(minillm.load(file).model.forward(ids[None])[0][0], ours)
        yield difference(in_llama_cpp(file, ids[:SHORT]), ours[:SHORT])

    return check


# --- types of GGUF files -----------------------------------------------------------------------

TYPES = (
    *("F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M"),
    *("Q2_K", "IQ4_NL", "IQ4_XS"),
)
WIDTHS = (256, 288)  # a multiple of 256, and none, for which llama.cpp takes other types


def types() -> Group:
    """GGUF files that llama.cpp's own quantiser makes."""
    heads = ("file", "types in it", "values beside gguf", "logits beside exact ones",
             "llama.cpp's beside exact ones")  # fmt: skip
    rows = ((f"{name}, {width} wide", quantised(name, width)) for name in TYPES for width in WIDTHS)
    return Group("Types of GGUF files, made by llama.cpp", heads, rows)


def quantised(name: str, width: int) -> Check:
    """The row of a type: the values are the largest difference itself, not a share."""

    def check(folder: Path) -> Iterator[Any]:
        import gguf

        llama_cpp, _ = llama_cpp_quietly()
        config = LlamaConfig(len(BYTES), 64, 2, 4, 2, width=width, feed_forward=2 * width)
        model, source, file = Llama(config, np.random.default_rng(0)), folder / "f32", folder / name
        write_gguf(Contents(model, BYTES), source)
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}")
        llama_cpp.llama_model_quantize(str(source).encode(), str(file).encode(), params)
        reader, (_, tensors) = gguf.GGUFReader(str(file)), open_gguf(file)
        run = minillm.load(file)
        kinds = Counter(tensor.type for tensor in tensors.values() if len(tensor.shape) == 2)
        yield ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        yield max(
            float(np.abs(tensors[one.name].read() - values.reshape(tensors[one.name].shape)).max())
            for one in reader.tensors
            for values in [gguf.quants.dequantize(one.data, one.tensor_type)]
        )
        ids = ids_below(len(BYTES))
        exact = dequantised(run.model).forward(ids[None])[0][0]
        yield difference(run.model.forward(ids[None])[0][0], exact)
        yield difference(in_llama_cpp(file, ids), exact)

    return check


GROUPS: dict[str, Callable[[], Group]] = {"shapes": shapes, "types": types}

if __name__ == "__main__":
    main()
