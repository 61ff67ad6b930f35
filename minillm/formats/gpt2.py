"""GPT-2 as Hugging Face's library transformers stores it (:mod:`minillm.formats.huggingface`).

The tokenizer is one of byte pairs: tokenizer.json, or vocab.json and merges.txt.

Its linear layers ("Conv1D") have weights (in, out), as ours do: nothing is transposed.  As in ours,
the output is tied to the token embedding, and has no weight.
"""

from minillm.formats.huggingface import Transformers
from minillm.models.gpt import GPT, GPTConfig

GPT2 = Transformers(
    signature="a folder with a GPT-2",
    models=(GPT,),
    config_type=GPTConfig,
    model_type="gpt2",
    architectures=("GPT2LMHeadModel", "GPT2Model"),
    sizes={
        "vocabulary": "vocab_size",
        "context": "n_positions",
        "layers": "n_layer",
        "heads": "n_head",
        "width": "n_embd",
    },
    numbers={"dropout": (0.1, "resid_pdrop", "embd_pdrop")},
    fixed={
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of one function
        "layer_norm_epsilon": (1e-5,),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    written={"attn_pdrop": 0.0},
    names={
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
    },
    prefix="transformer.",
    transposed=False,
    buffers=r"h\.\d+\.attn\.(masked_)?bias",  # masks of older versions
)
FORMATS = (GPT2,)
