"""All layers of thinc under the gradient checker: which backwards are wrong, and in which way.

    python -m benchmarks.thinc [--seeds 5] [--out docs/outputs]

thinc's layers return ``Y, backprop``, as our ops return ``y, backward``.  Each layer of its
registry is checked at a few random inputs on thinc's NumPy backend, in float64: its own float32
would hide small errors.  Layers whose kernels take float32 alone are checked in float32, with wide
steps and a tolerance of 1e-2.  thinc is in the extra: pip install 'minillm-book[checkers]'.
"""

import argparse
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minillm.testing import GradientError, check_gradients

from .bugs.score import table
from .studies.milestones import machine
from .thinc_layers import op_of_layer

Generator = np.random.Generator
Case = Callable[[Generator], tuple[Any, Any]]  # draws a layer, which is initialised, and its input

# The cause of each refusal, found by reading thinc's source.
REASONS: dict[str, str] = {
    "Gelu": "the forward pass approximates erf to 1e-7; its derivative is not the exact density",
    "Dish": "the derivative is taken at X instead of X W + b; raises if nO and nI differ",
    "Softmax": "by design: the upstream gradient is expected to be the gradient of the logits",
    "Softmax_v2": "by design, like Softmax",
    "Embed, with dropout": "the upstream gradient is multiplied by the mask in place",
    "HashEmbed, with dropout": "the upstream gradient is multiplied by the mask in place",
    "SparseLinear": "the values are returned in place of their gradient",
    "SparseLinear_v2": "the values are returned in place of their gradient",
    "LSTM": "the first step has no gradient; the gradients of the weights start at the weights "
    "themselves; the initial states have none",
    "bidirectional": "both directions get the first half of dY (`_split`)",
    "concatenate, of lists": "`dX += ...` appends lists instead of adding arrays",
    "concatenate, of Ragged": "`dX += ...` is not defined for Ragged",
    "array_getitem, a row twice": "`dX[index] = dY` does not add up equal rows",
    "with_flatten": "the gradient is split along the last axis instead of the first",
    "with_reshape": "dY is given the shape of X",
}
LEFT_OUT = (
    "wrappers of other libraries (PyTorchWrapper, PyTorchRNNWrapper, PyTorchLSTM, "
    "TorchScriptWrapper, TensorFlowWrapper, MXNetWrapper), layers without floats (strings2arrays, "
    "premap_ids, remap_ids) and layers that only measure (with_debug, with_nvtx_range, "
    "with_signpost_interval)"
)
SINGLE = ("LSTM", "SparseLinear", "SparseLinear_v2")  # their kernels read float32, whatever comes


def cases() -> dict[str, Case]:
    """Draw each layer with its input.  Sizes differ, so that a wrong axis shows."""
    from thinc import api
    from thinc.types import Padded, Ragged

    def array(rng: Generator) -> Any:
        return rng.standard_normal((5, 4))

    def pair(rng: Generator) -> Any:
        return array(rng), array(rng)

    def arrays(rng: Generator) -> Any:
        return [rng.standard_normal((length, 4)) for length in (3, 1, 2)]

    def nested(rng: Generator) -> Any:
        one, two, three = arrays(rng)
        return [[one, two], [three]]

    def rows(rng: Generator) -> Any:
        one, two, three = rng.standard_normal((3, 1, 4))
        return [[one, two], [three]]

    def ragged(rng: Generator) -> Any:
        return Ragged(rng.standard_normal((6, 4)), np.array([2, 3, 1], "i"))

    def padded(rng: Generator) -> Any:
        data = rng.standard_normal((3, 3, 4))
        for row, length in enumerate((3, 2, 1)):
            data[length:, row] = 0
        return Padded(data, *(np.array(ints, "i") for ints in ([3, 2, 1], [3, 2, 1], [0, 1, 2])))

    def cube(rng: Generator) -> Any:
        return rng.standard_normal((2, 3, 4))

    def ids(rng: Generator) -> Any:
        return rng.permutation([0, 1, 2, 3, 0, 2]).astype("uint64")

    def columns(rng: Generator) -> Any:
        return rng.integers(0, 4, (6, 2)).astype("uint64")

    def sparse(rng: Generator) -> Any:
        keys, lengths = np.array([1, 5, 1, 9, 5, 2], "uint64"), np.array([2, 3, 1], "i")
        return keys, rng.uniform(1, 2, 6).astype("f"), lengths

    def linear() -> Any:
        return api.Linear(3)

    units = [
        *("Linear", "Relu", "ReluK", "Maxout", "Mish", "Gelu", "Dish", "Swish", "HardSwish"),
        *("HardSwishMobilenet", "HardSigmoid", "HardTanh", "ClippedLinear", "Sigmoid"),
        *("Softmax", "Softmax_v2"),
    ]
    made: dict[str, tuple[Callable[[], Any], Callable[[Generator], Any]]] = {
        # Dish alone has as many outputs as inputs, because it raises otherwise.
        **{n: (lambda n=n: getattr(api, n)(4 if n == "Dish" else 3), array) for n in units},
        "MultiSoftmax": (lambda: api.MultiSoftmax((2, 3)), array),
        "LayerNorm": (api.LayerNorm, array),
        "Dropout": (lambda: api.Dropout(0.4), array),
        "Logistic": (api.Logistic, array),
        "sigmoid_activation": (api.sigmoid_activation, array),
        "softmax_activation": (api.softmax_activation, array),
        "Embed": (lambda: api.Embed(3, 4), ids),
        "Embed, with dropout": (lambda: api.Embed(3, 4, dropout=0.4), ids),
        "HashEmbed": (lambda: api.HashEmbed(3, 5), ids),
        "HashEmbed, with dropout": (lambda: api.HashEmbed(3, 5, dropout=0.4), ids),
        "SparseLinear": (lambda: api.SparseLinear(3, 16), sparse),
        "SparseLinear_v2": (lambda: api.SparseLinear_v2(3, 10), sparse),
        "CauchySimilarity": (api.CauchySimilarity, pair),
        "LSTM": (lambda: api.LSTM(3, 4), padded),
        "ParametricAttention": (api.ParametricAttention, ragged),
        "ParametricAttention_v2": (
            lambda: api.ParametricAttention_v2(key_transform=api.Linear(4, 4)),
            ragged,
        ),
        "reduce_first": (api.reduce_first, ragged),
        "reduce_last": (api.reduce_last, ragged),
        "reduce_max": (api.reduce_max, ragged),
        "reduce_mean": (api.reduce_mean, ragged),
        "reduce_sum": (api.reduce_sum, ragged),
        "expand_window": (api.expand_window, array),
        "expand_window, of Ragged": (api.expand_window, ragged),
        "add": (lambda: api.add(linear(), api.Maxout(3)), array),
        "bidirectional": (lambda: api.bidirectional(api.with_array2d(linear())), padded),
        "chain": (lambda: api.chain(api.Maxout(3), api.Linear(2)), array),
        "clone": (lambda: api.clone(api.Maxout(4), 2), array),
        "concatenate": (lambda: api.concatenate(linear(), api.Maxout(2)), array),
        "concatenate, of lists": (
            lambda: api.concatenate(api.with_array(linear()), api.with_array(api.Maxout(2))),
            arrays,
        ),
        "concatenate, of Ragged": (
            lambda: api.concatenate(api.with_array(linear()), api.with_array(api.Maxout(2))),
            ragged,
        ),
        "noop": (api.noop, array),
        "residual": (lambda: api.residual(api.Maxout(4)), array),
        "residual, of lists": (lambda: api.residual(api.with_array(api.Maxout(4))), arrays),
        "residual, of Padded": (lambda: api.residual(api.with_array2d(api.Maxout(4))), padded),
        "resizable": (lambda: api.resizable(linear(), lambda layer, nO: layer), array),
        "siamese": (lambda: api.siamese(api.Linear(3, 4), api.CauchySimilarity(3)), pair),
        "tuplify": (lambda: api.tuplify(linear(), api.Maxout(2)), array),
        "uniqued": (lambda: api.uniqued(api.Embed(3, 4, column=0), column=0), columns),
        "map_list": (lambda: api.map_list(linear()), arrays),
        "array_getitem": (lambda: api.array_getitem((slice(None), slice(1, 3))), array),
        "array_getitem, a row twice": (lambda: api.array_getitem(([0, 2, 0],)), array),
        "list2array": (api.list2array, arrays),
        "list2ragged": (api.list2ragged, arrays),
        "list2padded": (api.list2padded, arrays),
        "ragged2list": (api.ragged2list, ragged),
        "padded2list": (api.padded2list, padded),
        "with_array, of lists": (lambda: api.with_array(linear()), arrays),
        "with_array, of lists, padded": (lambda: api.with_array(linear(), pad=1), arrays),
        "with_array, of Ragged": (lambda: api.with_array(linear()), ragged),
        "with_array, of Padded": (lambda: api.with_array(api.Logistic()), padded),
        "with_array2d": (lambda: api.with_array2d(linear()), padded),
        "with_cpu": (lambda: api.with_cpu(linear(), api.get_current_ops()), array),
        "with_flatten": (lambda: api.with_flatten(api.chain(api.list2array(), linear())), rows),
        "with_flatten_v2": (lambda: api.with_flatten_v2(api.map_list(linear())), nested),
        "with_getitem": (lambda: api.with_getitem(1, linear()), pair),
        "with_list": (lambda: api.with_list(api.map_list(linear())), ragged),
        "with_padded": (lambda: api.with_padded(api.with_array2d(linear())), arrays),
        "with_padded, of Ragged": (lambda: api.with_padded(api.with_array2d(linear())), ragged),
        "with_ragged": (lambda: api.with_ragged(api.ParametricAttention()), arrays),
        "with_reshape": (lambda: api.with_reshape(linear()), cube),
    }

    def case(make: Callable[[], Any], draw: Callable[[Generator], Any]) -> Case:
        def drawn(rng: Generator) -> tuple[Any, Any]:
            layer, X = make(), draw(rng)
            layer.initialize(X=None if any(n.name == "lstm" for n in layer.walk()) else X)
            return layer, X

        return drawn

    return {name: case(*both) for name, both in made.items()}


def use_float64() -> None:
    """Let thinc allocate float64 wherever it would take float32."""
    from thinc.api import NumpyOps, set_current_ops

    def wide(dtype: Any) -> Any:
        return np.float64 if dtype is not None and np.dtype(dtype) == np.float32 else dtype

    class Float64Ops(NumpyOps):
        def alloc(self, shape: Any, *, dtype: Any = "float64", zeros: bool = True) -> Any:
            return super().alloc(shape, dtype=wide(dtype), zeros=zeros)

        def asarray(self, data: Any, dtype: Any = None) -> Any:
            return super().asarray(data, dtype=wide(dtype))

    set_current_ops(Float64Ops())


def in_float32(op: Callable) -> Callable:
    """The op in float32, with arguments and results in float64."""

    def single(values: Any) -> list[Any]:
        return [np.asarray(value, np.float32) for value in values]

    def double(values: Any) -> Any:
        values = values if isinstance(values, tuple) else (values,)
        wide = tuple(np.asarray(value, np.float64) for value in values)
        return wide if len(wide) > 1 else wide[0]

    def call(*args: Any) -> Any:
        outputs, backward = op(*single(args))
        return double(outputs), lambda *dys: double(backward(*single(dys)))

    return call


def fault(name: str, case: Case, seeds: int) -> str:
    """The first message of the checker about a layer, or nothing."""
    from thinc.api import NumpyOps

    is_single = name in SINGLE
    options: dict[str, Any] = {"step": 0.05, "tolerance": 1e-2} if is_single else {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        layer, X = case(rng)
        if is_single:
            layer.ops = NumpyOps()
        op, args = op_of_layer(layer, X)
        # Some weights start at zero, where much is hidden.
        args = tuple(a + 0.3 * rng.standard_normal(a.shape) for a in args)
        try:
            check_gradients(_seeded(op, is_single), *args, rng=rng, **options)
        except GradientError as error:
            return str(error)
    return ""


def _seeded(op: Callable, is_single: bool) -> Callable:
    function = in_float32(op) if is_single else op

    def seeded(*args: Any) -> Any:
        np.random.seed(0)  # noqa: NPY002  (thinc's dropout draws from it)
        return function(*args)

    seeded.__signature__ = inspect.signature(op)  # type: ignore[attr-defined]
    return seeded


def page(faults: dict[str, str], seeds: int) -> str:
    """The table of the refused layers, and the names of the others, in Markdown."""
    wrong = {name: text.splitlines()[0] for name, text in faults.items() if text}
    rows = [[name, _short(text), REASONS.get(name, "unknown")] for name, text in wrong.items()]
    right = "; ".join(name for name, text in faults.items() if not text)
    version, today = importlib.metadata.version("thinc"), time.strftime("%Y-%m-%d")
    return "\n\n".join(
        [
            "```console\n$ python -m benchmarks.thinc\n```",
            f"thinc {version}, {len(faults)} cases at {seeds} inputs each ({machine()}; {today})",
            table(["layer", "the checker's message", "cause"], *rows).replace("--:", "---"),
            f"Right ({len(faults) - len(wrong)}): {right}.",
            f"Left out: {LEFT_OUT}.",
        ]
    )


def _short(text: str) -> str:
    """The message without digits that differ from machine to machine, and without advice."""
    text = re.sub(r"; (this point lies|\d+ of \d+).*", "", text).partition(" (found")[0]
    text = re.sub(r", relative error .*", "", text)
    return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.3g}", text)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.thinc",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="inputs of each layer")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write DIR/thinc.md, too")
    options = parser.parse_args()
    if importlib.util.find_spec("thinc") is None:
        print("benchmarks.thinc: expected the package thinc, found none", file=sys.stderr)
        return 2
    use_float64()
    warnings.simplefilter("ignore")
    faults = {name: fault(name, case, options.seeds) for name, case in cases().items()}
    text = page(faults, options.seeds)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "thinc.md").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
