"""GPT-2 as Hugging Face's library transformers stores it (:mod:`minillm.formats.huggingface`).

The tokenizer is one of byte pairs: tokenizer.json, or vocab.json and merges.txt.

Its linear layers ("Conv1D") have weights (in, out), as ours do: nothing is transposed.  As in ours,
the output is tied to the token embedding, and has no weight.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from minillm.data.entries import Entries
from minillm.errors import Reasons
from minillm.formats.huggingface import Transformers, config_from, read_dropout
from minillm.formats.tensors import Tensor
from minillm.models.gpt import GPT, GPTConfig


class GPT2Folder(Transformers):
    """Folders of a GPT-2."""

    models = (GPT,)
    signature = "a folder with a GPT-2"
    model_type = "gpt2"
    architectures = ("GPT2LMHeadModel", "GPT2Model")
    sizes: ClassVar = {
        "vocabulary": "vocab_size",
        "context": "n_positions",
        "layers": "n_layer",
        "heads": "n_head",
        "width": "n_embd",
    }
    fixed: ClassVar = {
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
        "layer_norm_epsilon": (1e-5,),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    }
    others: ClassVar = {
        "n_ctx", "n_inner", "resid_pdrop", "attn_pdrop", "embd_pdrop", "reorder_and_upcast_attn",
        "n_special", "predict_special_tokens", "summary_activation", "summary_first_dropout",
        "summary_proj_to_labels", "summary_type", "summary_use_proj",
    }  # fmt: skip
    names: ClassVar = {
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
    transposed = False
    tokenizer_class = "GPT2Tokenizer"
    prefix = "transformer."
    output, heads = "lm_head.weight", "lm_head"
    buffers = re.compile(r"h\.\d+\.attn\.(masked_)?bias")  # masks of older versions

    def config(self, file: Entries, tensors: Mapping[str, Tensor]) -> GPTConfig:
        """The sizes; n_ctx is an older name of n_positions."""
        values = {"n_positions": file.values.get("n_ctx"), **file.values}
        file = Entries(file.path, values)
        reasons, others = Reasons(), dict[str, Any]()
        with reasons:
            others["dropout"] = read_dropout(file, "resid_pdrop")
        with reasons:
            config = config_from(file, GPTConfig, self.sizes, **others)
            inner = 4 * config.width
            if values.get("n_inner") not in (None, inner):
                raise file.wrong("n_inner", f"{inner}, four times n_embd")
        reasons.check()
        return config

    def entries(self, config: GPTConfig) -> dict[str, Any]:
        """Dropout as in our model: none of the attention's weights."""
        return {
            "n_ctx": config.context,
            "n_inner": None,
            "resid_pdrop": config.dropout,
            "embd_pdrop": config.dropout,
            "attn_pdrop": 0.0,
        }
