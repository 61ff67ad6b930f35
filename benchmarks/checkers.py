"""Gradient checkers compared: which wrong backwards each finds, and which right ones it accuses.

    python -m benchmarks.checkers [--quick] [--out docs/outputs]

The set of bugs in ``benchmarks/bugs`` was frozen before any checker had seen it.  All checkers
get the same ops at the same inputs, and run at their defaults.  A bug is found if the checker
accuses the wrong op and not the right one at the same inputs.  --quick takes every tenth bug and
a tenth of the seeds.  The libraries are in the extra: pip install 'minillm-book[checkers]'.
"""

import importlib.metadata
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.testing import GradientError, check_gradients, check_projections, check_symmetry
from minillm.testing.gradients import check_point
from minillm.testing.lines import locate
from minillm.testing.point import Point

from . import command
from .bugs import Op, as_tuple, score
from .bugs.lines import Place
from .bugs.score import Args, Checker
from .studies.milestones import machine

# --- an op as a function of its float arrays --------------------------------------------------


class OfFloats:
    """An op whose other arguments (ids, lengths, masks) are fixed.

    ``flat`` and ``backward_of_flat`` join the outputs into one vector, for libraries whose
    functions have one output.
    """

    def __init__(self, op: Op, args: Args) -> None:
        self.op, self.args = op, args
        self.places = [k for k, a in enumerate(args) if _is_float(a)]
        self.arrays = [args[k] for k in self.places]
        self.shapes = [np.shape(y) for y in as_tuple(op(*args)[0])]

    def call(self, *arrays: NDArray) -> tuple[Any, Callable]:
        args = list(self.args)
        for k, array in zip(self.places, arrays, strict=True):
            args[k] = array
        return self.op(*args)

    def outputs(self, *arrays: NDArray) -> tuple[NDArray, ...]:
        return tuple(np.array(y) for y in as_tuple(self.call(*arrays)[0]))

    def flat(self, *arrays: NDArray) -> NDArray:
        return np.concatenate([np.ravel(y) for y in self.outputs(*arrays)])

    def backward_of_flat(self, *arrays: NDArray) -> Callable[[NDArray], Args]:
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in self.shapes])
        backward = self.call(*arrays)[1]

        def of_flat(dy: NDArray) -> Args:
            parts = np.split(np.array(dy), ends[:-1])
            pairs = zip(parts, self.shapes, strict=True)
            return as_tuple(backward(*(part.reshape(shape) for part, shape in pairs)))

        return of_flat


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


# --- the checkers: each raises an error where it finds a gradient wrong -----------------------


def generator(seed: int) -> np.random.Generator:
    """The generator of a check, which is not the one that drew the inputs."""
    return np.random.default_rng((seed, 1))


def ours(op: Op, args: Args, seed: int) -> None:
    check_gradients(op, *args, rng=generator(seed))


def our_lines(op: Op, args: Args, seed: int, forced: bool = False) -> list[Place] | None:
    """The lines that our checker names.  ``forced`` also searches in an op that passes."""
    try:
        point = Point(op, args, generator(seed))
        fault = point, check_point(point), "values"
    except GradientError as error:
        if error.fault is None:
            return []
        fault, forced = error.fault, True
    except TypeError:  # it takes no float32
        return None
    if not forced:
        return None
    return [(s.file, s.line, s.end) for s in locate(*fault).suspects]


def forced_lines(op: Op, args: Args, seed: int) -> list[Place] | None:
    return our_lines(op, args, seed, forced=True)


def projections(op: Op, args: Args, seed: int) -> None:
    rng = generator(seed)
    function = OfFloats(op, args)
    params = {str(k): array for k, array in enumerate(function.arrays)}
    upstream = [rng.standard_normal(shape) for shape in function.shapes]

    def loss() -> tuple[Any, Callable[[], dict[str, NDArray]]]:
        result, backward = op(*args)
        value = sum(np.sum(dy * y) for dy, y in zip(upstream, as_tuple(result), strict=True))
        return value, lambda: dict(zip(params, as_tuple(backward(*upstream)), strict=True))

    check_projections(loss, params, rng=rng)


def symmetry(op: Op, args: Args, seed: int) -> None:
    """The second derivatives alone: no column of the table, because it cannot see every error."""
    check_symmetry(op, *args, rng=generator(seed))


def torch_slow(op: Op, args: Args, seed: int, fast: bool = False) -> None:
    import torch

    function = OfFloats(op, args)

    class ByHand(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            result, ctx.by_hand = function.call(*(tensor.detach().numpy() for tensor in tensors))
            outputs = tuple(torch.from_numpy(np.array(y)) for y in as_tuple(result))
            # With several outputs, a gradient of zero arrives as None, as in our convention.
            ctx.set_materialize_grads(len(outputs) == 1)
            return outputs if len(outputs) > 1 else outputs[0]

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> Any:
            if all(dy is None for dy in upstream):
                return (None,) * len(function.places)
            arrays = (None if dy is None else dy.numpy() for dy in upstream)
            gradients = as_tuple(ctx.by_hand(*arrays))
            return tuple(None if g is None else torch.from_numpy(np.array(g)) for g in gradients)

    torch.manual_seed(seed)
    tensors = [torch.tensor(array, requires_grad=True) for array in function.arrays]
    torch.autograd.gradcheck(ByHand.apply, tensors, fast_mode=fast)


def torch_fast(op: Op, args: Args, seed: int) -> None:
    torch_slow(op, args, seed, fast=True)


def with_jax(op: Op, args: Args, seed: int) -> None:
    import jax
    from jax.test_util import check_grads

    function = OfFloats(op, args)

    def shapes(arrays: Any) -> Any:
        return tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arrays)

    def call_forward(*arrays: Any) -> Any:
        return function.outputs(*map(np.asarray, arrays))

    def call_backward(arrays: Any, upstream: Any) -> Any:
        backward = function.call(*map(np.asarray, arrays))[1]
        return as_tuple(backward(*map(np.asarray, upstream)))

    @jax.custom_vjp
    def by_hand(*arrays: Any) -> Any:
        return jax.pure_callback(call_forward, outputs, *arrays)

    def forward(*arrays: Any) -> Any:
        return by_hand(*arrays), arrays

    def backward(arrays: Any, upstream: Any) -> Any:
        return jax.pure_callback(call_backward, shapes(arrays), arrays, upstream)

    outputs = shapes(function.outputs(*function.arrays))
    by_hand.defvjp(forward, backward)
    check_grads(by_hand, function.arrays, order=1, modes=["rev"])


def with_autograd(op: Op, args: Args, seed: int) -> None:
    from autograd.extend import defvjp_argnums, primitive
    from autograd.test_util import check_grads

    function = OfFloats(op, args)
    by_hand = primitive(function.flat)

    def vjp(places: Any, y: Any, arrays: Any, named: Any) -> Callable:
        backward = function.backward_of_flat(*arrays)
        return lambda dy: [backward(dy)[k] for k in places]

    defvjp_argnums(by_hand, vjp)
    np.random.seed(seed)  # noqa: NPY002  (autograd draws from it)
    every = tuple(range(len(function.arrays)))
    check_grads(by_hand, every, modes=["rev"], order=1)(*function.arrays)


def with_mygrad(op: Op, args: Args, seed: int) -> None:
    """The check of MyGrad's own tests, which is not part of its package.

    Each gradient is compared with the complex step of 1e-20 at every coordinate, and both
    tolerances are 1e-8.
    """
    import mygrad
    from mygrad.operation_base import Operation

    function = OfFloats(op, args)

    class ByHand(Operation):
        def __call__(self, *tensors: Any) -> NDArray:
            self.variables = tensors
            arrays = [tensor.data for tensor in tensors]
            self.by_hand = function.backward_of_flat(*arrays)
            return function.flat(*arrays)

        def backward_var(self, grad: NDArray, index: int, **kwargs: Any) -> NDArray:
            return self.by_hand(grad)[index]

    tensors = [mygrad.tensor(array) for array in function.arrays]
    y = mygrad.execute_op(ByHand, *tensors)
    dy = generator(seed).standard_normal(y.shape)
    y.backward(dy)
    analytic = [tensor.grad for tensor in tensors]
    arrays = [array.astype(complex) for array in function.arrays]
    for array, gradient in zip(arrays, analytic, strict=True):
        numeric = np.empty(array.shape)
        for index in np.ndindex(array.shape):
            array[index] += 1e-20j
            numeric[index] = dy @ function.flat(*arrays).imag / 1e-20
            array[index] -= 1e-20j
        np.testing.assert_allclose(gradient, numeric, rtol=1e-8, atol=1e-8)


CHECKERS = [
    Checker("minillm", ours, takes_none=True),
    Checker("minillm, projections", projections),
    Checker("PyTorch, slow", torch_slow, "torch", takes_none=True),
    Checker("PyTorch, fast", torch_fast, "torch", takes_none=True),
    Checker("JAX", with_jax, "jax"),
    Checker("MyGrad", with_mygrad, "mygrad"),
    Checker("autograd", with_autograd, "autograd"),
]


def available() -> list[Checker]:
    """The checkers whose libraries are installed; name the others."""
    found = []
    for checker in CHECKERS:
        try:
            if checker.library:
                importlib.metadata.version(checker.library)
            found.append(checker)
        except importlib.metadata.PackageNotFoundError:
            print(f"{checker.name}: {checker.library} is not installed", file=sys.stderr)
    return found


# --- the page ---------------------------------------------------------------------------------


def page(results: dict[str, Any]) -> str:
    """The command, the sizes of the set and the versions, above the tables."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    sizes = (
        f"{results['bugs']} bugs at {results['bug_seeds']} inputs each, {len(results['right'])} "
        f"kinds of right ops at {results['right_seeds']:,} each ({results['machine']}; {versions})"
    )
    return f"```console\n$ {results['command']}\n```\n\n{sizes}\n\n{score.page(results)}"


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--out", type=Path, default=Path("runs/checkers"), metavar="DIR")
    options = parser.parse_args()
    checkers = available()
    libraries = sorted({checker.library for checker in checkers if checker.library})
    set_up(libraries)
    results = {
        "command": "python -m benchmarks.checkers" + " --quick" * options.quick,
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in libraries},
        **score.scored(checkers, options.quick),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "checkers.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "checkers.md").write_text(page(results) + "\n")
    print(page(results))


def set_up(libraries: list[str]) -> None:
    """Run PyTorch on one thread, and JAX in double precision and without a log of errors."""
    if "torch" in libraries:
        import torch

        torch.set_num_threads(1)
    if "jax" in libraries:
        import jax

        jax.config.update("jax_enable_x64", True)
        logging.getLogger("jax").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    main()
