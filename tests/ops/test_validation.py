"""Wrong arguments and upstream gradients get one clear line before any kernel reads them.

The door (minillm/checks.py) is the same for all ops and for both twins, so each op is tried with
the arguments of its case, and each form of a declaration with one message.
"""

import numpy as np
import pytest

from minillm import ops, use_kernels
from minillm.ops.gradient_cases import CASES

from .cases import case_of, declared, is_float, names_of, on_its_twins, tuple_of, upstream_of

x = np.ones((2, 3, 4), np.float32)
h0 = np.zeros((2, 5), np.float32)
W_x, W_h, b = (np.ones(s, np.float32) for s in ((4, 20), (5, 20), (20,)))
ids = np.array([[0, 1, 2], [2, 3, 3]])
heads = [x[None]] * 3


def masked(*fields, **named):
    """The call of attention with a mask."""
    mask = ops.Mask(*fields, **named)
    return lambda: ops.scaled_dot_product_attention(*heads, mask=mask)


TYPES = [
    (lambda: ops.linear(x, W_x.astype(float)), "linear: W: expected float32, the dtype of x, fo"),
    (lambda: ops.tanh([1.0, 2.0]), "tanh: x: expected a NumPy array, found list"),
    (lambda: ops.relu(ids), "relu: x: expected float32 or float64, found int64"),
    (lambda: ops.cross_entropy(x, ids, x[..., 0]), "mask: expected booleans, found float32"),
    (lambda: ops.cross_entropy(x, ids, [True]), "mask: expected a NumPy array, found list"),
    (lambda: ops.gelu(x, "none"), "gelu: approximate: expected True or False, found str"),
    (lambda: ops.dropout(x, None, 7), "dropout: rate: expected a number, found NoneType"),
    (lambda: ops.dropout(x, 0.1, 7), "dropout: rng: expected a NumPy Generator, found int"),
    (lambda: ops.rms_norm(x, x[0, 0], "1"), "rms_norm: eps: expected a number, found str"),
    (masked("no"), "scaled_dot_product_attention: causal: expected True or False, found str"),
    (masked(True, window=2.0), "window: expected a whole number, found float"),
    (masked(True, window=True), "window: expected a whole number, found bool"),
]
VALUES = [
    (lambda: ops.lstm(x, h0, h0, W_x, W_h[:, :19], b),
     r"lstm: W_h: expected shape \(H = 5, 4H = 20\), found \(5, 19\)"),
    (lambda: ops.rnn(x[:, :0], h0, W_x[:, :5], W_h[:, :5], b[:5]),
     r"rnn: x: expected shape \(B = 2, T > 0, I = 4\), found \(2, 0, 4\)"),
    (lambda: ops.causal_convolution(x, x[0], x[0, 0], x[:, :1]),
     r"before: expected shape \(B = 2, K-1 = 2, D = 4\), found \(2, 1, 4\)"),
    (lambda: ops.rotary(x[None, ..., :3], ids[:1]),
     r"rotary: x: expected shape \(B = 1, N = 2, T = 3, 2P > 0\), found \(1, 2, 3, 3\)"),
    (lambda: ops.cross_entropy(x[:, 0], ids),
     r"cross_entropy: targets: expected shape \(2,\), found \(2, 3\)"),
    (lambda: ops.multiplicative_attention(x, x[..., :3], x),
     r"W: expected shape \(D = 4, C = 3\), found None"),
    (lambda: ops.embedding(ids - 1, x[0]), r"embedding: ids: expected 0\.\.2, found -1\.\.2"),
    (lambda: ops.dropout(x, 1.0, np.random.default_rng(0)), "at least 0 and below 1, found 1.0"),
    (lambda: ops.cross_entropy(x, ids, None, -0.1), "label_smoothing: expected at least 0 and"),
    (lambda: ops.rms_norm(x, x[0, 0], 0.0), "rms_norm: eps: expected above 0 and finite, found 0"),
    (lambda: ops.rms_norm(x, x[0, 0], np.nan), "eps: expected above 0 and finite, found nan"),
    (lambda: ops.policy_loss(*[h0[0]] * 3, beta=-1),
     "policy_loss: beta: expected 0 or more and finite, found -1"),
    # each op's own
    (lambda: ops.cross_entropy(x, ids, ids < 0), "mask: expected a True, found False everywhere"),
    (lambda: ops.pointer_cross_entropy(x[:0], x[:0, :, 0], x[:0, :, 0], ids[:0]),
     "pointer_cross_entropy: targets: expected one or more, found none"),
    (lambda: ops.coverage(x, np.array([0, 0])),
     "coverage: lengths: expected one above 0, found none"),
    (lambda: ops.scaled_dot_product_attention(x[None, [0, 0, 1]], x[None], x[None]),
     "scaled_dot_product_attention: k: expected heads that divide the 3 of q, found 2"),
    (lambda: ops.scaled_dot_product_attention(*heads, True, mask=ops.Mask()),
     "scaled_dot_product_attention: mask: expected None with causal, lengths or start"),
    (masked(True, start=np.array([4])), r"start: expected 0\.\.3, found 4\.\.4"),
    (masked(True, window=0), "window: expected 1 or more, found 0"),
    (masked(window=3), "window: expected None without causal, found 3"),
    (masked(True, sinks=2), "sinks: expected 0 without a window, found 2"),
    (masked(True, window=2, sinks=-1), "sinks: expected 1 or more, found -1"),
    (masked(rows=np.array([1, 1])), "rows: expected the lengths of one row of 3"),
    (masked(rows=np.array([[3]])), "rows: expected the lengths of one row of 3"),
    (masked(rows=np.array([3]), start=np.array([0])), "rows: expected the lengths of one row of 3"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [(call, TypeError, message) for call, message in TYPES]
    + [(call, ValueError, message) for call, message in VALUES],
)
def test_the_message_names_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- floats -------------------------------------------------------------------------------


def wrong_arrays(a):
    for dtype in (np.float16, np.int64, object, a.dtype.newbyteorder()):
        yield a.astype(dtype)
    yield a.tolist() if a.ndim else "1"
    yield np.ma.masked_array(a, a > 0)
    if a.ndim == 2:
        yield a.view(np.matrix)


def calls(name):
    """An op's name, itself and its arguments; and the same of a recurrence's step."""
    op, args = case_of(name, np.random.default_rng(0))
    yield name, op, args
    if step := getattr(ops, f"{name}_step", None):
        yield f"{name}_step", step, [args[0][:, 0], *args[1:-1]]


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_plain_float_array_is_refused(name):
    """Lists, matrices, masked arrays, objects, None, another byte order: a line that names it."""
    for called, op, args in calls(name):
        optional = {a.name for a in declared(called) if a.optional}
        or_integers = {a.name for a in declared(called) if "i" in a.axes}
        first = next(k for k, a in enumerate(args) if is_float(a))  # all others have its dtype
        for k, (argument, a) in enumerate(zip(names_of(op), args, strict=False)):
            if not is_float(a):
                continue
            wrongs = [*wrong_arrays(a), *([] if k == first else [a.astype(np.float32)])]
            for wrong in [*wrongs, *([] if argument in optional else [None])]:
                if argument in or_integers and getattr(wrong, "dtype", "") == np.dtype(int):
                    continue
                with pytest.raises(TypeError, match=f"^{called}: {argument}: expected "):
                    op(*args[:k], wrong, *args[k + 1 :])


# --- integers -----------------------------------------------------------------------------


def integers_of(name):
    return [a.name for a in declared(name) if "i" in a.axes]


INTEGERS = [name for name in CASES if integers_of(name)]


def integer_case(name, rng):
    """-> the op, its arguments by name, with all integers that it takes."""
    op = getattr(ops, name)
    arguments = dict(zip(names_of(op), case_of(name, rng)[1], strict=False))
    if "x" in integers_of(name):
        arguments["x"] = rng.integers(0, len(arguments["W_x"]), arguments["x"].shape[:2])
    if name == "scaled_dot_product_attention":
        arguments |= {"causal": True, "start": rng.integers(0, 3, 3), "mask": None}
    if name == "cross_entropy":
        arguments["mask"] = rng.random(arguments["targets"].shape) < 0.5
    return op, arguments


@on_its_twins(INTEGERS)
def test_integers_of_any_type_byte_order_and_strides(name, kernels):
    """What the caller writes into them afterwards changes nothing."""
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
            if arguments.get("mask") is not None:
                changed["mask"] = arguments["mask"].copy()
            others, other_backward = op(**changed)
            for key in integers_of(name):
                changed[key][...] = 99
            if arguments.get("mask") is not None:
                changed["mask"][...] = True
            results = (*tuple_of(others), *tuple_of(other_backward(*upstream)))
            for one, other in zip(results, expected, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("wrong", [-1, 2**63 + 1, 2**53])
def test_integers_out_of_range_are_refused(name, wrong):
    op, arguments = integer_case(name, np.random.default_rng(0))
    for key in integers_of(name):
        integers = arguments[key].astype(np.int64 if wrong < 0 else np.uint64)
        integers.flat[-1] = wrong
        with pytest.raises(ValueError, match=rf"{name}: {key}: expected .*(-1\.\.|\.\.{wrong}$)"):
            op(**arguments | {key: integers})


@pytest.mark.parametrize("name", INTEGERS)
def test_what_is_no_integer_array_is_refused(name):
    op, arguments = integer_case(name, np.random.default_rng(0))
    for key in integers_of(name):
        a = arguments[key]
        wrongs = [a.tolist(), np.ma.masked_array(a, a > 0), a > 0, a.astype(object), "1"]
        if not next(a.optional for a in declared(name) if a.name == key):
            wrongs.append(None)
        if key != "x":  # which may be floats
            wrongs.append(a.astype(float))
        for wrong in wrongs:
            with pytest.raises(TypeError, match=f"{name}: {key}: expected"):
                op(**arguments | {key: wrong})


# --- upstream gradients -------------------------------------------------------------------


def wrong_shapes(dy):
    yield np.zeros((*dy.shape, 1), dy.dtype)
    yield np.zeros((1, *dy.shape), dy.dtype)
    for axis, size in enumerate(dy.shape):
        yield np.delete(dy, 0, axis)  # too small
        yield np.concatenate([dy, dy], axis)
        if size > 1:
            yield np.delete(dy, range(size - 1), axis)  # as if it were to be broadcast
    if dy.ndim > 1:
        yield dy.ravel()
        if dy.T.shape != dy.shape:
            yield dy.T.copy()  # as many numbers


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_upstream_gradient_is_refused(name):
    rng = np.random.default_rng(0)
    op, args = case_of(name, rng, np.float32)
    outputs, backward = op(*args)
    upstream = upstream_of(outputs, rng)
    expected = tuple_of(backward(*upstream))
    for k, dy in enumerate(upstream):
        others = [(ValueError, "shape ", wrong) for wrong in wrong_shapes(dy)]
        others += [(TypeError, "", wrong) for wrong in [*wrong_arrays(dy), dy.astype(float)]]
        if len(upstream) == 1:
            others.append((TypeError, ".*found NoneType", None))
        for error, found, wrong in others:
            with pytest.raises(error, match=f"{name}: d[A-Za-z_]+: expected {found}"):
                backward(*upstream[:k], wrong, *upstream[k + 1 :])
    for few_or_many in ((), (*upstream, upstream[0])):
        if few_or_many or upstream[0].ndim:  # the gradient of a loss is 1
            with pytest.raises(TypeError):
                backward(*few_or_many)
    for one, other in zip(tuple_of(backward(*upstream)), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_gradient_of_a_loss_may_be_a_python_number():
    _, backward = ops.cross_entropy(np.zeros((2, 3), np.float32), np.array([0, 1]))
    for two in (2, 2.0, np.float32(2), np.array(2, np.float32)):
        dlogits = backward(two)
        assert dlogits.dtype == np.float32
        np.testing.assert_array_equal(dlogits, 2 * backward())
    with pytest.raises(TypeError, match="cross_entropy: dloss: expected float32, found float64"):
        backward(np.float64(2))


# --- the caller's arrays ------------------------------------------------------------------


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
