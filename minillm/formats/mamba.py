"""Mamba as Hugging Face's library transformers stores it (:mod:`minillm.formats.huggingface`).

The published models have this form in folders whose names end with "-hf".  Their tokenizer is one
of byte pairs: tokenizer.json.

Its linear layers have weights (out, in), the transpose of ours; A_log (E, N) is as ours.  The
kernels of the convolution are (E, 1, K), as PyTorch has them; ours are (K, E).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from minillm.data.entries import Entries
from minillm.formats.huggingface import SILU, Transformers
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


@dataclass(frozen=True, kw_only=True)
class MambaFolder(Transformers):
    """Folders of a Mamba."""

    def plain(self, name: str) -> str:
        """The one name of a tensor; the embedding has another one in older files."""
        return re.sub(r"^embedding\.", "embeddings.", super().plain(name))

    def weights(self, config: MambaConfig) -> Iterator[Weight]:
        """The parameters, and their tensors: A_log is not transposed, kernels have three axes."""
        for weight in super().weights(config):
            if weight.name.endswith(".convolution.W"):
                yield Kernels(weight.name, weight.shape, weight.columns)
            else:
                turned = weight.transposed and not weight.name.endswith(".A_log")
                yield replace(weight, transposed=turned)

    def fields(self, file: Entries, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """The inner width, which may be left out: ``expand`` times the width."""
        expand = file.size("expand")
        given = file.values.get("intermediate_size") is not None
        return {} if given else {"inner": expand * file.size("hidden_size")}

    def entries(self, config: MambaConfig) -> dict[str, Any]:
        """Also the inner width once more, in other words."""
        expand, rest = divmod(config.inner, config.width)
        return super().entries(config) | ({} if rest else {"expand": expand})

    def completed(self, file: Entries) -> Entries:
        """The entries, completed by the defaults; a rank of "auto" is our default."""
        values = {name: value for name, value in file.values.items() if value not in (None, "auto")}
        return super().completed(Entries(file.path, values))


MAMBA = MambaFolder(
    signature="a folder with a Mamba",
    models=(Mamba,),
    config_type=MambaConfig,
    model_type="mamba",
    architectures=("MambaForCausalLM", "MambaModel"),
    sizes={
        "vocabulary": "vocab_size",
        "layers": "num_hidden_layers",
        "width": "hidden_size",
        "inner": "intermediate_size",
        "state": "state_size",
        "convolution": "conv_kernel",
        "rank": "time_step_rank",
    },
    numbers={"eps": (1e-5, "layer_norm_epsilon"), "tied": (True, "tie_word_embeddings")},
    fixed={**SILU, "use_bias": (False,), "use_conv_bias": (True,)},
    defaults={
        "state_size": 16,
        "conv_kernel": 4,
        "expand": 2,
        "intermediate_size": None,
        "time_step_rank": None,
    },
    written={"residual_in_fp32": True},  # how sums are rounded in half precision
    names={
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
    },
    prefix="backbone.",
)
FORMATS = (MAMBA,)
