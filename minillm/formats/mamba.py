"""Mamba as Hugging Face's library transformers stores it (:mod:`minillm.formats.huggingface`).

The published models have this form in folders whose names end with "-hf".  Their tokenizer is one
of byte pairs: tokenizer.json.

Its linear layers have weights (out, in), the transpose of ours; A_log (E, N) is as ours.  The
kernels of the convolution are (E, 1, K), as PyTorch has them; ours are (K, E).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from numpy.typing import NDArray

from minillm.data.entries import Entries
from minillm.errors import Reasons
from minillm.formats.huggingface import Transformers, config_from
from minillm.formats.tensors import Tensor
from minillm.formats.weights import Weight
from minillm.models.mamba import Mamba, MambaConfig


class Kernels(Weight):
    """The kernels of a convolution: ours (K, E), theirs (E, 1, K)."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of the tensor."""
        K, E = self.shape
        return dict.fromkeys(self.columns, (E, 1, K))

    def views(self, array: NDArray) -> dict[str, NDArray]:
        """The tensor as a view of our parameter."""
        return dict.fromkeys(self.columns, array.T[:, None])


class MambaFolder(Transformers):
    """Folders of a Mamba."""

    models: ClassVar[tuple[type, ...]] = (Mamba,)
    signature: ClassVar[str | None] = "a folder with a Mamba"
    model_type = "mamba"
    architectures = ("MambaForCausalLM", "MambaModel")
    sizes: ClassVar = {
        "vocabulary": "vocab_size",
        "layers": "num_hidden_layers",
        "width": "hidden_size",
        "inner": "intermediate_size",
        "state": "state_size",
        "convolution": "conv_kernel",
        "rank": "time_step_rank",
    }
    fixed: ClassVar = {
        "hidden_act": ("silu", "swish"),  # two names of one function
        "use_bias": (False,),
        "use_conv_bias": (True,),
    }
    # How sums are rounded in half precision, how fresh weights are drawn, which program computes
    # the scan, and other names of sizes.
    others: ClassVar = {
        "layer_norm_epsilon", "expand", "residual_in_fp32", "rescale_prenorm_residual",
        "time_step_scale", "time_step_min", "time_step_max", "time_step_floor",
        "time_step_init_scheme", "use_mambapy", "use_associative_scan", "d_inner", "d_model",
        "n_layer", "fused_add_norm", "rms_norm", "pad_vocab_size_multiple", "ssm_cfg",
    }  # fmt: skip
    names: ClassVar = {
        "embedding.E": "embeddings.weight",
        "layers.*.norm.gain": "layers.*.norm.weight",
        "layers.*.input.W": "layers.*.mixer.in_proj.weight",
        "layers.*.convolution.W": "layers.*.mixer.conv1d.weight",
        "layers.*.convolution.b": "layers.*.mixer.conv1d.bias",
        "layers.*.selection.W": "layers.*.mixer.x_proj.weight",
        "layers.*.step.W": "layers.*.mixer.dt_proj.weight",
        "layers.*.step.b": "layers.*.mixer.dt_proj.bias",
        "layers.*.A_log": "layers.*.mixer.A_log",
        "layers.*.skip": "layers.*.mixer.D",
        "layers.*.output.W": "layers.*.mixer.out_proj.weight",
        "norm.gain": "norm_f.weight",
        "output.W": "lm_head.weight",
    }
    tokenizer_class = "PreTrainedTokenizerFast"
    prefix = "backbone."
    output, heads = "lm_head.weight", "lm_head"
    buffers = re.compile(r"(?!)")  # none

    def plain(self, name: str) -> str:
        """The one name of a tensor; the embedding has another one in older files."""
        return re.sub(r"^embedding\.", "embeddings.", super().plain(name))

    def tied(self, config: MambaConfig) -> dict[str, tuple[str, str]]:
        """The output, if it is tied to the embedding."""
        return super().tied(config) if config.tied else {}

    def weights(self, config: MambaConfig) -> Iterator[Weight]:
        """The parameters, and their tensors: A_log is not transposed, kernels have three axes."""
        for weight in super().weights(config):
            if weight.name.endswith(".convolution.W"):
                yield Kernels(weight.name, weight.shape, weight.columns)
            elif weight.name.endswith(".A_log"):
                yield replace(weight, transposed=False)
            else:
                yield weight

    def config(self, file: Entries, tensors: Mapping[str, Tensor]) -> MambaConfig:
        """The sizes, eps, and whether the output is tied.

        The inner width may be left out: ``expand`` times the width.  A rank of "auto" is our
        default.
        """
        known = {name: value for name, value in file.values.items() if value is not None}
        file = Entries(file.path, {"state_size": 16, "conv_kernel": 4, "expand": 2, **known})
        given, reasons, others = dict(self.sizes), Reasons(), dict[str, Any]()
        if file.values.get("time_step_rank", "auto") == "auto":
            del given["rank"]
        if "intermediate_size" not in known:
            del given["inner"]
        with reasons:
            expand = file.size("expand")
        with reasons:
            others["eps"] = file.number("layer_norm_epsilon", 1e-5)
        with reasons:
            others["tied"] = file.flag("tie_word_embeddings", True)
        with reasons:
            config = config_from(file, MambaConfig, given, **others)
        reasons.check()
        return config if "inner" in given else replace(config, inner=expand * config.width)

    def entries(self, config: MambaConfig) -> dict[str, Any]:
        """Eps, whether the output is tied, and the inner width once more, in other words."""
        expand, rest = divmod(config.inner, config.width)
        return ({} if rest else {"expand": expand}) | {
            "layer_norm_epsilon": config.eps,
            "tie_word_embeddings": config.tied,
            "residual_in_fp32": True,
        }
