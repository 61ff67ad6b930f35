"""GPT-2 as Hugging Face's library transformers stores it (:mod:`minillm.formats.huggingface`).

The tokenizer is one of byte pairs: tokenizer.json, or vocab.json and merges.txt.

Its linear layers ("Conv1D") have weights (in, out), as ours do: nothing is transposed.  As in ours,
the output is tied to the token embedding, and has no weight.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minillm.data.entries import Entries
from minillm.data.files import read_json
from minillm.errors import InputError
from minillm.formats import huggingface
from minillm.formats.format import Contents
from minillm.formats.huggingface import Transformers, answering
from minillm.formats.weights import Weight, weights_of
from minillm.models.gpt import GPT, GPTConfig
from minillm.text import Vocabulary, load_tokenizer

_NAMES = {  # ours, theirs
    "embedding.E": "wte.weight",
    "positions.E": "wpe.weight",
    "blocks.*.norm_1.gain": "h.*.ln_1.weight",
    "blocks.*.norm_1.bias": "h.*.ln_1.bias",
    "blocks.*.attention.W_qkv": "h.*.attn.c_attn.weight",
    "blocks.*.attention.b_qkv": "h.*.attn.c_attn.bias",
    "blocks.*.attention.W_o": "h.*.attn.c_proj.weight",
    "blocks.*.attention.b_o": "h.*.attn.c_proj.bias",
    "blocks.*.norm_2.gain": "h.*.ln_2.weight",
    "blocks.*.norm_2.bias": "h.*.ln_2.bias",
    "blocks.*.feed_forward.W_1": "h.*.mlp.c_fc.weight",
    "blocks.*.feed_forward.b_1": "h.*.mlp.c_fc.bias",
    "blocks.*.feed_forward.W_2": "h.*.mlp.c_proj.weight",
    "blocks.*.feed_forward.b_2": "h.*.mlp.c_proj.bias",
    "norm.gain": "ln_f.weight",
    "norm.bias": "ln_f.bias",
}
PREFIX = "transformer."  # absent if the model was saved without its output layer
_OUTPUT = "lm_head.weight"
_TIED = {_OUTPUT: ("wte.weight", "embedding.E")}
_MASK = re.compile(r"h\.\d+\.attn\.(masked_)?bias")  # buffers of older versions, not weights

_SIZES = {
    "vocabulary": "vocab_size",
    "context": "n_positions",
    "layers": "n_layer",
    "heads": "n_head",
    "width": "n_embd",
}

# Entries that may vary in Hugging Face's GPT-2, but not in models/gpt.py; the default comes first.
_FIXED: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
_ARCHITECTURES = ("GPT2LMHeadModel", "GPT2Model")
# Entries that are read below, and others that change no result.
_OTHERS = {
    *_SIZES.values(),
    "n_ctx", "n_inner", "resid_pdrop", "attn_pdrop", "embd_pdrop", "reorder_and_upcast_attn",
    "n_special", "predict_special_tokens", "summary_activation", "summary_first_dropout",
    "summary_proj_to_labels", "summary_type", "summary_use_proj",
}  # fmt: skip


def weights(config: GPTConfig) -> Iterator[Weight]:
    """The parameters of a model, and their tensors."""
    return weights_of(GPT.shapes(config), _NAMES, transposed=False)


# --- reading -----------------------------------------------------------------


def import_gpt2(folder: str | Path) -> tuple[GPT, Vocabulary]:
    """The GPT-2 in a folder, in float32, and its tokenizer.

    Each weight is read from the file into its place, so memory holds only one copy of the model.
    InputError names the file, and the entry or tensor that is missing, damaged or not supported by
    :mod:`minillm.models.gpt`.
    """
    folder = Path(folder)
    config, tied = _read_config(folder / "config.json")
    tokenizer = load_tokenizer(folder)
    huggingface.check_vocabulary(folder, config.vocabulary, len(tokenizer))
    tensors = huggingface.open_weights(folder, lambda name: name.removeprefix(PREFIX))
    if _OUTPUT not in tensors and not tied:
        raise InputError(f"{folder}: the tensor {_OUTPUT} is missing, and not tied to wte.weight")
    params = huggingface.read_weights(folder, tensors, weights(config), _TIED, _MASK.fullmatch)
    return GPT(config, params=params), tokenizer


def _read_config(path: Path) -> tuple[GPTConfig, bool]:
    """The sizes, and whether the output is tied if the weights have none."""
    values = read_json(path)
    huggingface.check_known(
        path, values, "gpt2", _ARCHITECTURES, _FIXED | huggingface.CAUSAL, _OTHERS
    )
    values.setdefault("n_positions", values.get("n_ctx"))  # its older name
    sizes = huggingface.read_sizes(path, values, _SIZES, "resid_pdrop")
    inner = 4 * sizes["width"]
    if values.get("n_inner") not in (None, inner):
        raise Entries(path, values).wrong("n_inner", f"{inner}, four times n_embd")
    try:
        config = GPTConfig(**sizes)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return config, values.get("tie_word_embeddings", True) is not False


# --- writing -----------------------------------------------------------------


def export_gpt2(model: GPT, tokenizer: Vocabulary, folder: str | Path) -> None:
    """Write a new folder that transformers loads, with the same logits; whole or not at all.

    InputError for a tokenizer that is not one of byte pairs.
    """
    files = huggingface.byte_pair_files(tokenizer, "GPT2Tokenizer", model.config.context)
    files["config.json"] = huggingface.json_file(_config_values(model.config, tokenizer))
    tensors = {
        PREFIX + name: view
        for weight in weights(model.config)
        for name, view in weight.views(model.params[weight.name]).items()
    }
    huggingface.write_folder(folder, files, tensors)


def _config_values(config: GPTConfig, tokenizer: Vocabulary) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "architectures": list(_ARCHITECTURES[:1]),
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "n_ctx": config.context,
        "n_inner": None,
        **{name: allowed[0] for name, allowed in _FIXED.items()},
        "tie_word_embeddings": True,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
    }


class GPT2Folder(Transformers):
    """Folders of a GPT-2."""

    models = (GPT,)
    model_type = "gpt2"
    signature = "a folder with a GPT-2"

    def read(self, path: str, baseline: Any = None) -> Contents:
        """See :func:`import_gpt2`."""
        return answering(path, *import_gpt2(path))

    def write(self, contents: Contents, path: str | Path, options: Any) -> None:
        """See :func:`export_gpt2`."""
        export_gpt2(contents.model, contents.tokenizer, path)
