"""Bad arguments get one clear line before any kernel runs."""

import inspect

import numpy as np
import pytest

from minillm import kernels_info, ops, use_kernels
from minillm.ops.gradient_cases import CASES

from .test_properties import case_of, is_float, tuple_of, upstream_of

x = np.ones((2, 3, 4), np.float32)
h0 = np.zeros((2, 5), np.float32)
W_x, W_h, b = (np.ones(s, np.float32) for s in ((4, 20), (5, 20), (20,)))
ids = np.array([[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: ops.linear(x, np.ones((3, 5), np.float32), np.ones(5, np.float32)),
            ValueError,
            r"linear: W: expected shape \(I = 4, O = 5\), found \(3, 5\)",
        ),
        (
            lambda: ops.linear(x, np.ones((4, 5)), np.ones(5, np.float32)),
            TypeError,
            "linear: W: expected float32, the dtype of x, found float64",
        ),
        (
            lambda: ops.lstm(x, h0, h0, W_x, W_h[:, :19], b),
            ValueError,
            r"lstm: W_h: expected shape \(H = 5, 4H = 20\), found \(5, 19\)",
        ),
        (
            lambda: ops.lstm(x, h0, h0[:1], W_x, W_h, b),
            ValueError,
            r"lstm: c0: expected shape \(B = 2, H = 5\), found \(1, 5\)",
        ),
        (lambda: ops.tanh([1.0, 2.0]), TypeError, "tanh: x: expected a NumPy array, found list"),
        (
            lambda: ops.gelu(np.ones(2), "none"),
            TypeError,
            "gelu: approximate: expected True or False, found str",
        ),
        (
            lambda: ops.relu(np.arange(3)),
            TypeError,
            "relu: x: expected float32 or float64, found int64",
        ),
        (
            lambda: ops.lstm(x, h0, h0, W_x, W_h, b, lengths=np.array([1, 4])),
            ValueError,
            r"lstm: lengths: expected 0\.\.3, found 1\.\.4",
        ),
        (
            lambda: ops.lstm(x, h0, h0, W_x, W_h, b, lengths=np.array([1, 2, 3])),
            ValueError,
            r"lstm: lengths: expected shape \(B = 2\), found \(3,\)",
        ),
        (
            lambda: ops.lstm(x, h0, h0, W_x, W_h, b, lengths=np.array([1.0, 2.0])),
            TypeError,
            "lstm: lengths: expected integers, found float64",
        ),
        (
            lambda: ops.embedding(ids, np.ones((3, 4))),
            ValueError,
            r"embedding: ids: expected 0\.\.2, found 0\.\.3",
        ),
        (
            lambda: ops.embedding(ids - 1, np.ones((3, 4))),
            ValueError,
            r"embedding: ids: expected 0\.\.2, found -1\.\.2",
        ),
        (
            lambda: ops.cross_entropy(np.ones((2, 2, 3)), ids),
            ValueError,
            r"cross_entropy: targets: expected 0\.\.2, found 0\.\.3",
        ),
        (
            lambda: ops.cross_entropy(np.ones((2, 5)), ids),
            ValueError,
            r"cross_entropy: targets: expected shape \(2,\), found \(2, 2\)",
        ),
        (
            lambda: ops.cross_entropy(np.ones((2, 2, 4)), ids, np.zeros((2, 2), bool)),
            ValueError,
            "mask: expected a True, found False everywhere",
        ),
        (
            lambda: ops.cross_entropy(np.ones((2, 2, 4)), ids, np.ones((2, 2))),
            TypeError,
            "mask: expected booleans, found float64",
        ),
        (
            lambda: ops.dropout(x, 1.0, np.random.default_rng(0)),
            ValueError,
            r"dropout: rate: expected at least 0 and below 1, found 1.0",
        ),
        (
            lambda: ops.layer_norm(x, np.ones(4, np.float32), np.ones(4, np.float32), eps=0),
            ValueError,
            "eps: expected above 0",
        ),
        (
            lambda: ops.rnn(x[:, :0], h0, W_x[:, :5], W_h[:, :5], b[:5]),
            ValueError,
            r"rnn: x: expected shape \(B = 2, T > 0, I = 4\), found \(2, 0, 4\)",
        ),
        (
            lambda: ops.lstm_step(x[:, 0], h0, h0, W_x, W_h, b[:5]),
            ValueError,
            r"lstm_step: b: expected shape \(4H = 20\), found \(5,\)",
        ),
        (
            lambda: ops.gru(x, h0, W_x[:, :15], W_h[:, :15], b[:15], b[:15])[1](x),
            ValueError,
            r"gru: dhs: expected shape \(2, 3, 5\), found \(2, 3, 4\)",
        ),
    ],
)
def test_the_message_names_the_argument(kernels, call, error, message):
    with use_kernels(kernels), pytest.raises(error, match=message):
        call()


def arguments_of(name):
    """The declared arguments of a case's op."""
    op = getattr(ops, name)
    return op.declaration.arguments if hasattr(op, "declaration") else []


def integers_of(name):
    return [a.name for a in arguments_of(name) if "i" in a.axes]


def wrong_arrays(a):
    for dtype in (np.float16, np.int64, object, a.dtype.newbyteorder()):
        yield a.astype(dtype)
    yield a.tolist()
    yield np.ma.masked_array(a, a > 0)
    if a.ndim == 2:
        yield a.view(np.matrix)


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_plain_float_array_is_refused(name, kernels):
    """Lists, matrices, masked arrays, objects, None, another byte order: a line that names it."""
    op, args = case_of(name, np.random.default_rng(0))
    names = list(inspect.signature(op).parameters)
    optional = {a.name for a in arguments_of(name) if a.optional}
    first = next(k for k, a in enumerate(args) if is_float(a))  # all others have its dtype
    with use_kernels(kernels):
        for k, a in enumerate(args):
            if not is_float(a):
                continue
            wrongs = [*wrong_arrays(a), *([] if k == first else [a.astype(np.float32)])]
            for wrong in [*wrongs, *([] if names[k] in optional else [None])]:
                if (
                    names[k] in integers_of(name)
                    and isinstance(wrong, np.ndarray)
                    and wrong.dtype == int
                ):
                    continue
                with pytest.raises(TypeError, match=f"^{name}: {names[k]}: expected "):
                    op(*args[:k], wrong, *args[k + 1 :])


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_what_is_no_plain_float_array_is_refused_in_a_step(name, kernels):
    _, (x, *rest, _) = case_of(name, np.random.default_rng(0))
    op, args = getattr(ops, f"{name}_step"), (x[:, 0], *rest)
    names = list(inspect.signature(op).parameters)
    with use_kernels(kernels):
        for k, a in enumerate(args):
            for wrong in (*wrong_arrays(a), None):
                if k == 0 and isinstance(wrong, np.ndarray) and wrong.dtype == int:
                    continue  # ids
                with pytest.raises(TypeError, match=f"^{name}_step: {names[k]}: expected "):
                    op(*args[:k], wrong, *args[k + 1 :])


def other_shapes(a):
    """No axes, empty ones, one too many, one too few."""
    yield np.array(a.flat[0])
    for axis in range(a.ndim):
        yield np.delete(a, range(a.shape[axis]), axis)
    yield a[None]
    yield a.ravel()


@pytest.mark.parametrize("name", CASES)
def test_arrays_without_axes_or_numbers_are_computed_or_refused_on_both_twins_alike(name):
    if kernels_info()["available"] == ["numpy"]:
        pytest.skip("the compiled kernels are not built")
    op, args = case_of(name, np.random.default_rng(0))

    def outcome(twin, *args):
        with use_kernels(twin):
            try:
                outputs, backward = op(*args)
            except ValueError as error:
                return str(error)
            outputs = tuple_of(outputs)
            gradients = tuple_of(backward(*map(np.ones_like, outputs)))
            return [np.shape(y) for y in (*outputs, *gradients)]

    for k, a in enumerate(args):
        if isinstance(a, np.ndarray):
            for other in other_shapes(a):
                given = (*args[:k], other, *args[k + 1 :])
                results = outcome("numpy", *given)
                assert outcome("cython", *given) == results
                assert not isinstance(results, str) or results.startswith(f"{name}: ")


INTEGERS = [name for name in CASES if integers_of(name)]


def integer_case(name, rng):
    """-> the op, its arguments by name, with all integers that it takes."""
    op = getattr(ops, name)
    arguments = dict(zip(inspect.signature(op).parameters, case_of(name, rng)[1], strict=False))
    if "x" in integers_of(name):
        arguments["x"] = rng.integers(0, len(arguments["W_x"]), arguments["x"].shape[:2])
    if name == "scaled_dot_product_attention":
        arguments |= {"causal": True, "start": rng.integers(0, 3, 3), "mask": None}
    if name == "cross_entropy":
        arguments["mask"] = rng.random(arguments["targets"].shape) < 0.5
    return op, arguments


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_of_any_type_byte_order_and_strides(name, kernels):
    rng = np.random.default_rng(0)
    op, arguments = integer_case(name, rng)
    with use_kernels(kernels):
        outputs, backward = op(**arguments)
        upstream = upstream_of(outputs, rng)
        expected = (*tuple_of(outputs), *tuple_of(backward(*upstream)))
        for dtype in ("i1", "u1", ">i2", "<u2", "i4", "u4", ">i8", "<i8", "u8"):
            changed = dict(arguments)
            for key in integers_of(name):
                changed[key] = np.repeat(arguments[key], 2, axis=-1)[..., ::2].astype(dtype)
                changed[key] = np.asarray(changed[key], order="F")[::-1][::-1]
            others, other_backward = op(**changed)
            results = (*tuple_of(others), *tuple_of(other_backward(*upstream)))
            for one, other in zip(results, expected, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", INTEGERS)
def test_what_the_caller_writes_into_integers_afterwards_changes_nothing(name, kernels):
    rng = np.random.default_rng(0)
    op, arguments = integer_case(name, rng)
    with use_kernels(kernels):
        outputs, backward = op(**arguments)
        upstream = upstream_of(outputs, rng)
        expected = tuple_of(backward(*upstream))
        for key in integers_of(name):
            arguments[key][...] = 10**9
        if arguments.get("mask") is not None:
            arguments["mask"][...] = True
        for one, other in zip(tuple_of(backward(*upstream)), expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("wrong", [-1, 2**63 + 1, 2**53])
def test_integers_out_of_range_are_refused(name, kernels, wrong):
    op, arguments = integer_case(name, np.random.default_rng(0))
    for key in integers_of(name):
        integers = arguments[key].astype(np.int64 if wrong < 0 else np.uint64)
        integers.flat[-1] = wrong
        with (
            use_kernels(kernels),
            pytest.raises(ValueError, match=rf"{name}: {key}: expected .*(-1\.\.|\.\.{wrong}$)"),
        ):
            op(**arguments | {key: integers})


@pytest.mark.parametrize("name", INTEGERS)
def test_what_is_no_integer_array_is_refused(name, kernels):
    op, arguments = integer_case(name, np.random.default_rng(0))
    for key in integers_of(name):
        a = arguments[key]
        wrongs = [a.tolist(), np.ma.masked_array(a, a > 0), a > 0, a.astype(object), "1"]
        if not next(a.optional for a in arguments_of(name) if a.name == key):
            wrongs.append(None)
        if key != "x":  # which may be floats
            wrongs.append(a.astype(float))
        for wrong in wrongs:
            with use_kernels(kernels), pytest.raises(TypeError, match=f"{name}: {key}: expected"):
                op(**arguments | {key: wrong})


def masked(*fields, **named):
    """The call of attention with a mask."""
    mask = ops.Mask(*fields, **named)
    return lambda: ops.scaled_dot_product_attention(*[x[None]] * 3, mask=mask)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.dropout(x, None, 7), "dropout: rate: expected a number, found NoneType"),
        (lambda: ops.dropout(x, 0.1, 7), "dropout: rng: expected a NumPy Generator, found int"),
        (lambda: ops.layer_norm(x, x[0, 0], x[0, 0], None), "layer_norm: eps: expected a number"),
        (lambda: ops.rms_norm(x, x[0, 0], "1"), "rms_norm: eps: expected a number, found str"),
        (lambda: ops.rotary(x[None], ids[:1, [0, 0, 0]], None), "rotary: base: expected a number"),
        (
            lambda: ops.cross_entropy(x, ids[:, [0, 0, 0]], [True]),
            "cross_entropy: mask: expected a NumPy array, found list",
        ),
        (
            lambda: ops.cross_entropy(x, ids[:, [0, 0, 0]], np.ma.array(x[..., 0] > 0)),
            "cross_entropy: mask: expected a NumPy array, found MaskedArray",
        ),
        (
            lambda: ops.scaled_dot_product_attention(x[None], x[None], x[None], "no"),
            "scaled_dot_product_attention: causal: expected True or False, found str",
        ),
        *(
            (
                masked(True, window=window),
                f"scaled_dot_product_attention: window: expected a whole number, found {found}",
            )
            for window, found in [(2.0, "float"), ("3", "str"), (True, "bool")]
        ),
        (
            lambda: ops.cross_entropy(x, ids[:, [0, 0, 0]], label_smoothing=None),
            "cross_entropy: label_smoothing: expected a number, found NoneType",
        ),
    ],
)
def test_other_arguments_of_a_wrong_type(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ops.rotary(x[None, ..., :3], ids[:1, [0, 0, 0]]),
            r"rotary: x: expected shape \(B = 1, N = 2, T = 3, 2P > 0\), found \(1, 2, 3, 3\)",
        ),
        (lambda: ops.rotary(x[None], ids[:1, [0, 0, 0]], 0), "rotary: base: expected above 0"),
        (lambda: ops.rms_norm(x, x[0, 0], 0.0), "rms_norm: eps: expected above 0"),
        (lambda: ops.rms_norm(x, x[0, 0], np.inf), "eps: expected above 0 and finite, found inf"),
        (lambda: ops.layer_norm(x, x[0, 0], x[0, 0], np.nan), "eps: expected above 0 and finite"),
        (
            lambda: ops.pointer_cross_entropy(x, x[..., 0], x[:, :2, 0], ids[:, [0, 0, 0]]),
            r"pointer_cross_entropy: copied: expected shape \(2, 3\), found \(2, 2\)",
        ),
        (
            lambda: ops.pointer_cross_entropy(x, x[:1, :, 0], x[..., 0], ids[:, [0, 0, 0]]),
            r"pointer_cross_entropy: gates: expected shape \(2, 3\), found \(1, 3\)",
        ),
        (
            lambda: ops.pointer_cross_entropy(x[:0], x[:0, :, 0], x[:0, :, 0], ids[:0, [0, 0, 0]]),
            "pointer_cross_entropy: targets: expected one or more, found none",
        ),
        (
            lambda: ops.coverage(x, np.array([0, 0])),
            "coverage: lengths: expected one above 0, found none",
        ),
        (
            lambda: ops.copied_probability(x, ids[:, [0, 0, 0]], ids[:, [0, 0, 0]]),
            r"copied_probability: source: expected shape \(B = 2, S = 4\), found \(2, 3\)",
        ),
        (
            lambda: ops.causal_convolution(x, x[0], x[0, 0], x[:, :1]),
            r"before: expected shape \(B = 2, K-1 = 2, D = 4\), found \(2, 1, 4\)",
        ),
        (
            lambda: ops.multiplicative_attention(x, x[..., :3], x),
            r"W: expected shape \(D = 4, C = 3\), found None",
        ),
        (
            lambda: ops.scaled_dot_product_attention(x[None, [0, 0, 1]], x[None], x[None]),
            "scaled_dot_product_attention: k: expected heads that divide the 3 of q, found 2",
        ),
        (
            masked(True, window=0),
            "scaled_dot_product_attention: window: expected 1 or more, found 0",
        ),
        (
            lambda: ops.scaled_dot_product_attention(*[x[None]] * 3, True, mask=ops.Mask()),
            "scaled_dot_product_attention: mask: expected None with causal, lengths or start",
        ),
        (
            masked(True, sinks=2),
            "scaled_dot_product_attention: sinks: expected 0 without a window, found 2",
        ),
        (
            masked(True, window=2, sinks=-1),
            "scaled_dot_product_attention: sinks: expected 1 or more, found -1",
        ),
        *(
            (masked(rows=np.array(rows), **others), r"rows: expected the lengths of one row of 3")
            for rows, others in [([1, 1], {}), ([[3]], {}), ([3], {"start": np.array([0])})]
        ),
        (
            masked(window=3),
            "scaled_dot_product_attention: window: expected None without causal, found 3",
        ),
        (
            lambda: ops.cross_entropy(x, ids[:, [0, 0, 0]], np.ones((2, 4), bool)),
            r"cross_entropy: mask: expected shape \(2, 3\), found \(2, 4\)",
        ),
    ],
)
def test_other_arguments_of_a_wrong_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_arguments_by_name_and_by_place():
    W, b = x[0].T.copy(), x[0, 0, :3]
    y, _ = ops.linear(x, W, b)
    for other in (ops.linear(x, W, b=b), ops.linear(b=b, W=W, x=x)):
        np.testing.assert_array_equal(other[0], y)
    for args, named in (((x,), {}), ((x, W, b, b), {}), ((x, W), {"x": x}), ((x, W), {"bias": b})):
        with pytest.raises(TypeError, match="argument"):
            ops.linear(*args, **named)


def test_a_view_larger_than_any_memory_is_refused():
    """Work on numbers that a view repeats would not end."""
    repeated = np.broadcast_to(np.float32(0), (2**40, 4))
    with pytest.raises(MemoryError, match=r"tanh: x: expected at most \d+ bytes, found \d+"):
        ops.tanh(repeated)
