"""Bugs written by hand: those that people make, and those that are hard to see.

Each is a change of one piece of text in ``ops.py``.  A bug is in its op, or in a function that the
op calls (``inside``).  This file is frozen.
"""

from typing import NamedTuple


class ByHand(NamedTuple):
    op: str
    kind: str
    what: str
    old: str  # occurs exactly once in the function
    new: str
    inside: str = ""  # the function, if it is not the op itself


BUGS: list[ByHand] = []


def _bugs(op: str, *changes: tuple[str, ...]) -> None:
    """Enter the bugs of one op: (kind, what, old, new) of each, and the function inside."""
    BUGS.extend(ByHand(op, *change) for change in changes)


# Kinds, in the order of the table.
FACTOR = "factor"
SUM = "sum or broadcast"
ORDER = "order, axis, gate"
TERM = "missing term"
TIME = "steps of time"
MASK = "mask or lengths"
KEPT = "wrong kept value"
BRANCH = "some inputs only"
PLACE = "one coordinate"
SMALL = "small"
UPSTREAM = "not linear in dy"
CONVENTION = "convention"
NONE = "None as a gradient"

DX = "dx = dy @ W.T"
DW = "dW = rows(x).T @ rows(dy)"
DB = "db = rows(dy).sum(axis=0)"
CARRY = "dh = np.where(running, da_t @ W_h.T, dh)"
H_PREV = "h_prev = np.concatenate([h0[:, None], hs[:, :-1]], axis=1)"
ATTEND = "dscores, dvalues = attend_backward(dcontext, dweights, values, weights)"
SCALED = "attend_backward(dy, 0.0, values, weights)"

_bugs(
    "linear",
    (FACTOR, "dW is a mean over the rows", DW, f"{DW} / len(rows(x))"),
    (FACTOR, "dW is a mean over the batch", DW, f"{DW} / len(x)"),
    (FACTOR, "db is a mean over the rows", DB, "db = rows(dy).mean(axis=0)"),
    (SUM, "db of the last row of the batch", DB, "db = dy[-1].sum(axis=0)"),
    (SUM, "dW of the first row of the batch", DW, "dW = x[0].T @ dy[0]"),
    (SUM, "dW of sums over time", DW, "dW = x.sum(1).T @ dy.sum(1)"),
    (ORDER, "W is not transposed", DX, "dx = dy @ W"),
    (ORDER, "dW is transposed", DW, "dW = rows(dy).T @ rows(x)"),
    (PLACE, "one entry of dW by 1e-4", DW, f"{DW}; dW[1, 2] *= 1 + 1e-4"),
    (PLACE, "one entry of dW by 1 %", DW, f"{DW}; dW[0, 1] *= 1.01"),
    (PLACE, "the last entry of db is 0", DB, f"{DB}; db[-1] = 0"),
    (PLACE, "two entries of dx exchanged", DX, f"{DX}; dx[0, 0] = dx[0, 0, ::-1]"),
    (SMALL, "dx by 1e-4", DX, "dx = dy @ (W.T * (1 + 1e-4))"),
    (SMALL, "db by 1e-5", DB, f"{DB} * (1 + 1e-5)"),
    (SMALL, "dW by 0.05 %", DW, f"{DW} * 1.0005"),
    (BRANCH, "dx by 0.1 % where x is negative", DX, "dx = dy @ W.T * np.where(x < 0, 1.001, 1)"),
    (UPSTREAM, "dy is clipped at 1", DX, "dx = np.clip(dy, -1, 1) @ W.T"),
    (UPSTREAM, "db as if dy were 1", DB, "db = np.full_like(b, len(rows(dy)))"),
    (UPSTREAM, "dW by the size of dy", DW, "dW = rows(x).T @ np.abs(rows(dy))"),
    (CONVENTION, "db has an axis too many", DB, "db = rows(dy).sum(0)[None]"),
    (CONVENTION, "dW is float32", DW, f"dW = ({DW[5:]}).astype(np.float32)"),
    (CONVENTION, "dy is cleared", DB, f"{DB}; dy[...] = 0"),
    (CONVENTION, "x is scaled in place", DB, f"{DB}; np.multiply(x, 1.001, out=x)"),
    (CONVENTION, "no gradient by b", "return dx, dW, db", "return dx, dW"),
    (CONVENTION, "None for b", "return dx, dW, db", "return dx, dW, None"),
    (CONVENTION, "b before W", "return dx, dW, db", "return dx, db, dW"),
)
_bugs(
    "embedding",
    (SUM, "the last of equal ids counts", "np.add.at(dE, ids, dy)", "dE[ids] = dy"),
    (SUM, "+= of equal ids", "np.add.at(dE, ids, dy)", "dE[ids] += dy"),
    (SUM, "the largest of equal ids",
     "np.add.at(dE, ids, dy)", "dE -= np.inf; np.maximum.at(dE, ids, dy)"),
    (FACTOR, "a mean over equal ids",
     "np.add.at(dE, ids, dy)",
     "np.add.at(dE, ids, dy); dE /= np.bincount(ids.ravel(), minlength=len(E))[:, None]"),
    (MASK, "id 0 is taken for padding",
     "np.add.at(dE, ids, dy)", "np.add.at(dE, ids, dy); dE[0] = 0"),
    (ORDER, "the next id", "np.add.at(dE, ids, dy)", "np.add.at(dE, (ids + 1) % len(E), dy)"),
    (TIME, "only the first step", "np.add.at(dE, ids, dy)", "np.add.at(dE, ids[:, :1], dy[:, :1])"),
    (PLACE, "one row by 1e-4",
     "np.add.at(dE, ids, dy)", "np.add.at(dE, ids, dy); dE[1] *= 1 + 1e-4"),
)
_bugs(
    "tanh",
    (FACTOR, "no square", "(1 - y**2)", "(1 - y)"),
    (KEPT, "x in place of y", "(1 - y**2)", "(1 - x**2)"),
    (SMALL, "by 1e-4", "(1 - y**2)", "(1 - y**2) * (1 + 1e-4)"),
    (SMALL, "1.0001 in place of 1", "(1 - y**2)", "(1.0001 - y**2)"),
    (BRANCH, "0.1 % where x is negative", "(1 - y**2)", "(1 - y**2) * np.where(x < 0, 1.001, 1)"),
    (BRANCH, "0 beyond 2", "(1 - y**2)", "(1 - y**2) * (np.abs(x) < 2)"),
    (BRANCH, "1 near 0", "(1 - y**2)", "np.where(np.abs(x) < 0.1, 1, 1 - y**2)"),
    (UPSTREAM, "dy twice", "dy * (1 - y**2)", "dy * dy * (1 - y**2)"),
    (CONVENTION, "y is squared in place",
     "return dy * (1 - y**2)", "return dy * (1 - np.multiply(y, y, out=y))"),
)
_bugs(
    "sigmoid",
    (FACTOR, "a factor missing", "y * (1 - y)", "(1 - y)"),
    (KEPT, "x in place of y", "y * (1 - y)", "y * (1 - x)"),
    (ORDER, "the derivative of tanh", "y * (1 - y)", "(1 - y**2)"),
    (BRANCH, "0 where it is saturated", "(1 - y)", "(1 - y) * (y < 0.9)"),
    (SMALL, "0.999", "(1 - y)", "(0.999 - y)"),
    (BRANCH, "0.1 % where x is negative", "(1 - y)", "(1 - y) * np.where(x < 0, 0.999, 1)"),
)
_bugs(
    "relu",
    (BRANCH, "the kink at 0.1", "(x > 0)", "(x > 0.1)"),
    (BRANCH, "the kink at -0.1", "(x > 0)", "(x > -0.1)"),
    (BRANCH, "0 beyond 2", "(x > 0)", "((x > 0) & (x < 2))"),
    (BRANCH, "leaks 0.1 %", "(x > 0)", "np.where(x > 0, 1, 1e-3)"),
    (BRANCH, "leaks 1e-4", "(x > 0)", "np.where(x > 0, 1, 1e-4)"),
    (KEPT, "no kink", "(x > 0)", "1"),
    (ORDER, "the sign", "(x > 0)", "np.sign(x)"),
    (UPSTREAM, "the kink of dy, too", "(x > 0)", "(x > 0) * (dy > 0)"),
)
_bugs(
    "silu",
    (TERM, "only the first term", "s * (1 + x * (1 - s))", "s"),
    (FACTOR, "s missing in a term", "s * (1 + x * (1 - s))", "(s + x * (1 - s))"),
    (BRANCH, "0.1 % where x is negative", "s * (1 + x", "s * np.where(x < 0, 1.001, 1) * (1 + x"),
    (BRANCH, "1 beyond 2", "dy * s * (", "dy * np.where(x > 2, 1, s) * ("),
)
_bugs(
    "gelu",
    (SMALL, "the constant rounded to 0.0447", "3 * 0.044715", "3 * 0.0447"),
    (SMALL, "the scale rounded to 0.79788", "du = scale", "du = 0.79788"),
    (FACTOR, "3 missing", "3 * 0.044715", "0.044715"),
    (FACTOR, "u' missing", " * du / 2", " / 2"),
    (TERM, "only the first term", " + x * (1 - t**2) * du / 2", ""),
    (FACTOR, "no square of t", "1 - t**2", "1 - t"),
)
_bugs(
    "exact_gelu",
    (SMALL, "1 / sqrt(2 pi) rounded", " / math.sqrt(2 * math.pi)", " * 0.3989"),
    (FACTOR, "the root missing", "math.sqrt(2 * math.pi)", "(2 * math.pi)"),
    (FACTOR, "the exponent doubled", "-(x**2) / 2", "-(x**2)"),
    (TERM, "only the first term", "(cdf + x * density)", "cdf"),
    (ORDER, "the derivative of the tanh form",
     "(cdf + x * density)",
     "((1 + (t := np.tanh(0.7978845608 * (x + 0.044715 * x**3)))) / 2"
     " + x * (1 - t**2) * 0.3989422804 * (1 + 0.134145 * x**2))"),
)
_bugs(
    "leaky_relu",
    (BRANCH, "0.1 % where x is negative", "slope * dy", "1.001 * slope * dy"),
    (BRANCH, "a fixed slope", "slope * dy", "0.01 * dy"),
    (MASK, "dslope of all x", "np.where(x > 0, 0, dy * x)", "dy * x"),
    (SUM, "dslope of the last row", ").sum(axis=0)", ")[-1]"),
    (FACTOR, "dslope a mean", ").sum(axis=0)", ").mean(axis=0)"),
)
_bugs(
    "softplus",
    (ORDER, "the sign of x", "logistic(x)", "logistic(-x)"),
    (BRANCH, "0 below -2", "logistic(x)", "np.where(x < -2, 0, logistic(x))"),
    (BRANCH, "1 beyond 2", "logistic(x)", "np.where(x > 2, 1, logistic(x))"),
    (SMALL, "by 1e-4", "logistic(x)", "logistic(x) + 1e-4"),
)
_bugs(
    "softmax",
    (TERM, "the diagonal only", "(dy - (dy * y)", "(dy - 0 * (dy * y)"),
    (TERM, "the diagonal of the Jacobian only",
     "y * (dy - (dy * y).sum(axis=-1, keepdims=True))", "y * (1 - y) * dy"),
    (SUM, "the sum of all", "sum(axis=-1, keepdims=True)", "sum()"),
    (SUM, "the sum over time", "sum(axis=-1,", "sum(axis=-2,"),
    (FACTOR, "a mean", ".sum(", ".mean("),
    (KEPT, "dy without y in the sum", "(dy * y).sum", "dy.sum"),
    (MASK, "the sum of the first row", "keepdims=True)", "keepdims=True)[:1, :1]"),
    (SMALL, "the sum by 1e-4", "(dy - (dy * y)", "(dy - (1 + 1e-4) * (dy * y)"),
    (BRANCH, "no gradient where y is below 0.05", "return y * (", "return y * (y > 0.05) * ("),
)
_bugs(
    "log_softmax",
    (TERM, "no sum", " - np.exp(y) * dy.sum(axis=-1, keepdims=True)", ""),
    (KEPT, "y and not its exponential", "np.exp(y)", "y"),
    (FACTOR, "a mean", "dy.sum(", "dy.mean("),
)
_bugs(
    "normalise",
    (TERM, "no projection", "(dy - y * (dy * y).sum(axis=-1, keepdims=True))", "dy"),
    (KEPT, "x in place of y", "(dy - y * (dy * y)", "(dy - x * (dy * y)"),
    (FACTOR, "the length missing", "keepdims=True)) / length", "keepdims=True))"),
    (FACTOR, "the length squared", "keepdims=True)) / length", "keepdims=True)) / length**2"),
)
_bugs(
    "layer_norm",
    (TERM, "the mean is a constant", " - along_ones", ""),
    (TERM, "the deviation is a constant", " - x_hat * along_x_hat", ""),
    (TERM, "both are constants", "(dx_hat - along_ones - x_hat * along_x_hat)", "dx_hat"),
    (KEPT, "the gain is missing", "dx_hat = dy * gain", "dx_hat = dy"),
    (KEPT, "dgain by x", "rows(dy * x_hat)", "rows(dy * x)"),
    (SMALL, "epsilon 1e-6 in place of 1e-5",
     "* inverse_std\n        return",
     "/ np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + 1e-6)\n        return"),
    (FACTOR, "the unbiased variance",
     "* inverse_std\n        return",
     "* inverse_std * np.sqrt(1 - 1 / x.shape[-1])\n        return"),
    (FACTOR, "a sum for a mean", "dx_hat.mean(", "dx_hat.sum("),
    (SUM, "means over time", "dx_hat.mean(axis=-1", "dx_hat.mean(axis=-2"),
    (SUM, "dbias of the first row", "rows(dy).sum(axis=0)", "dy[0].sum(axis=0)"),
    (SUM, "dgain a mean", "rows(dy * x_hat).sum(", "rows(dy * x_hat).mean("),
    (ORDER, "dgain and dbias exchanged", "dgain, dbias", "dbias, dgain"),
    (PLACE, "the first entry of each row by 1e-4",
     "return dx, dgain", "dx[..., 0] *= 1 + 1e-4\n        return dx, dgain"),
)
_bugs(
    "add_norm",
    (TERM, "the total is no output", "dx = dtotal + dx", "dx = dx"),
    (TERM, "the norm is forgotten", "dx = dtotal + dx", "dx = dtotal"),
    (TERM, "h by the total only", "dx.copy()", "dtotal"),
    (ORDER, "h is subtracted", "dx.copy()", "-dx"),
    (FACTOR, "shared by x and h", "dx = dtotal + dx", "dx = (dtotal + dx) / 2"),
    (NONE, "None is not taken", "or_zeros(dy, y)", "dy"),
    (NONE, "None means ones", "or_zeros(dy, y)", "np.ones_like(y) if dy is None else dy"),
)
_bugs(
    "rms_norm",
    (TERM, "the root is a constant", " - x_hat * along_x_hat", ""),
    (KEPT, "the gain is missing", "dx_hat = dy * gain", "dx_hat = dy"),
    (KEPT, "x in place of x_hat", "dx_hat - x_hat *", "dx_hat - x *"),
    (FACTOR, "a sum for a mean", "x_hat).mean(", "x_hat).sum("),
    (SUM, "the mean of all", "x_hat).mean(axis=-1, keepdims=True)", "x_hat).mean()"),
    (SMALL, "epsilon is forgotten",
     "along_x_hat) * inverse_rms", "along_x_hat) / np.sqrt((x**2).mean(axis=-1, keepdims=True))"),
    (SMALL, "the mean term by 1e-4", "dx_hat - x_hat *", "dx_hat - (1 + 1e-4) * x_hat *"),
)
_bugs(
    "batch_norm",
    (TERM, "the statistics are constants",
     "dy - dy.mean(axis=0) - x_hat * (dy * x_hat).mean(axis=0)", "dy"),
    (TERM, "the mean is a constant", " - dy.mean(axis=0)", ""),
    (FACTOR, "sums for means", "(dy * x_hat).mean(", "(dy * x_hat).sum("),
    (SUM, "means over features", "dy - dy.mean(axis=0)", "dy - dy.mean(1)[:, None]"),
    (KEPT, "the gain is missing", "dx * gain *", "dx *"),
)
_bugs(
    "rotary",
    (ORDER, "the same angle",
     "[dfirst * cos + dsecond * sin, dsecond * cos - dfirst * sin]",
     "[dfirst * cos - dsecond * sin, dsecond * cos + dfirst * sin]"),
    (ORDER, "cosine and sine exchanged",
     "[dfirst * cos + dsecond * sin, dsecond * cos - dfirst * sin]",
     "[dfirst * sin + dsecond * cos, dsecond * sin - dfirst * cos]"),
    (ORDER, "pairs of neighbours", "np.split(dy, 2, axis=-1)", "dy[..., ::2], dy[..., 1::2]"),
    (TIME, "the angles of the step before",
     "dfirst, dsecond =",
     "before = np.roll(angles, 1, axis=2); cos, sin = np.cos(before), np.sin(before)"
     "; dfirst, dsecond ="),
)
_bugs(
    "dropout",
    (FACTOR, "the scale is missing", "dy * kept * scale", "dy * kept"),
    (FACTOR, "the scale is inverted", "dy * kept * scale", "dy * kept / scale"),
    (MASK, "the mask is missing", "dy * kept * scale", "dy * scale"),
    (MASK, "a fresh mask",
     "dy * kept * scale", "dy * (np.random.default_rng().random(x.shape) < 0.7) * scale"),
    (MASK, "the mask inverted", "dy * kept * scale", "dy * ~kept * scale"),
)
_bugs(
    "scale_and_shift",
    (SUM, "dgain of one feature", "(dy * x).sum(axis=(0, 2))", "(dy * x)[..., 0].sum(0)"),
    (SUM, "dgain of one row", "(dy * x).sum(axis=(0, 2))", "(dy * x)[0].sum(1)"),
    (SUM, "dgain of all steps",
     "(dy * x).sum(axis=(0, 2))[:, None]", "np.full_like(gain, (dy * x).sum())"),
    (FACTOR, "dbias a mean", "dy.sum(", "dy.mean("),
    (SUM, "dbias of all rows", "dy.sum(axis=1, keepdims=True)", "np.full_like(bias, dy.sum())"),
    (CONVENTION, "dbias is not summed", "dy.sum(axis=1, keepdims=True)", "dy"),
    (CONVENTION, "dgain without its axis", "(0, 2))[:, None]", "(0, 2))"),
    (KEPT, "the gain of the first step", "dy * gain,", "dy * gain[0],"),
)
_bugs(
    "tied",
    (TERM, "the first use only", "dE + rows(x).T @ rows(da)", "rows(x).T @ rows(da)"),
    (TERM, "the second use only", "dE + rows(x).T @ rows(da)", "dE"),
    (ORDER, "one use is transposed", "rows(dy).T @ rows(h)", "rows(h).T @ rows(dy)"),
    (ORDER, "E is not transposed", "da @ E.T, dE", "da @ E, dE"),
    (KEPT, "x in place of h", "(1 - h**2)", "(1 - x**2)"),
)
_bugs(
    "bilinear",
    (ORDER, "x in place of z", "dy, W, z)", "dy, W, x)"),
    (ORDER, "dW is transposed", "->oij", "->oji"),
    (ORDER, "W is transposed for z", '"bo,oij,bi->bj"', '"bo,oji,bi->bj"'),
    (SUM, "dW of means over the batch", "dy, x, z)", "dy, x, z) / len(x)"),
    (PLACE, "one entry of dW is 0", "return dx, dW, dz", "dW[1, 0, 1] = 0; return dx, dW, dz"),
)
_bugs(
    "cross_entropy",
    (FACTOR, "masked places are counted", "dloss / count", "dloss / mask.size"),
    (FACTOR, "a sum for a mean", "dloss / count", "dloss"),
    (UPSTREAM, "dloss is ignored", "dloss / count", "1 / count"),
    (TERM, "no smoothing",
     "q[np.arange(count), kept] += 1 - smoothing", "q[...] = 0; q[np.arange(count), kept] = 1"),
    (FACTOR, "V - 1 for V", "smoothing / V", "smoothing / (V - 1)"),
    (TERM, "= for += at the target", "kept] += 1", "kept] = 1"),
    (TERM, "the targets are missing", "+= 1 - smoothing", "+= 0"),
    (ORDER, "the next target", "np.arange(count), kept] += 1", "np.arange(count), kept - 1] += 1"),
    (FACTOR, "no class weights", "class_weights[kept][:, None] * (p", "(p"),
    (ORDER, "the class weights of the predictions",
     "class_weights[kept][:, None] * (p", "class_weights[p.argmax(axis=-1)][:, None] * (p"),
    (SUM, "= for += of equal targets",
     "np.add.at(dclass_weights, kept, share * nats)", "dclass_weights[kept] = share * nats"),
    (SUM, "+= of equal targets",
     "np.add.at(dclass_weights, kept, share * nats)", "dclass_weights[kept] += share * nats"),
    (MASK, "the mask is ignored",
     "return dlogits, dclass_weights",
     "dlogits[~mask] = share * (exp_z / total)[0]; return dlogits, dclass_weights"),
    (SMALL, "the smoothing by 0.1 %", "smoothing / V", "1.001 * smoothing / V"),
    (SMALL, "p by 1e-4", "(p - q)", "((1 + 1e-4) * p - q)"),
)
_bugs(
    "reverse",
    (MASK, "lengths are ignored",
     "return reversed_rows(dy)", "return np.where((source >= 0)[..., None], dy[:, ::-1], 0)"),
    (TIME, "off by one",
     "return reversed_rows(dy)", "return reversed_rows(np.roll(dy, 1, axis=1))"),
    (ORDER, "not reversed",
     "return reversed_rows(dy)", "return np.where((source >= 0)[..., None], dy, 0)"),
    (MASK, "the padding has a gradient",
     "return reversed_rows(dy)", "return dy[np.arange(B)[:, None], source]"),
)
_bugs(
    "mean_pool",
    (MASK, "T for the length", "dy / count", "dy / x.shape[1]"),
    (MASK, "the padding has a gradient",
     "return zero_padding(np.broadcast_to(share, x.shape), lengths)",
     "return np.broadcast_to(share, x.shape).copy()"),
    (FACTOR, "a sum for a mean", "dy / count", "dy"),
    (TIME, "the last step is missing", "x.shape), lengths)", "x.shape), lengths - 1)"),
)
_bugs(
    "max_pool",
    (MASK, "a row without steps has a gradient", "np.where(empty, 0, dy)", "dy"),
    (SUM, "shared by all steps",
     "return dx",
     "steps = np.maximum(lengths, 1)[:, None, None]"
     "; return zero_padding(np.broadcast_to(dy[:, None] / steps, x.shape), lengths)"),
    (TIME, "the step after", "(dx, place,", "(dx, (place + 1) % x.shape[1],"),
    (ORDER, "the smallest", "(dx, place,", "(dx, x.argmin(axis=1)[:, None],"),
    (MASK, "the largest of the padding, too", "(dx, place,", "(dx, x.argmax(axis=1)[:, None],"),
)
_bugs(
    "convolution",
    (ORDER, "the kernel is reversed", "dy @ W[k].T", "dy @ W[::-1][k].T"),
    (ORDER, "dW is reversed", "dW[k] =", "dW[len(W) - 1 - k] ="),
    (ORDER, "W is not transposed", "dy @ W[k].T", "dy @ W[k]"),
    (SUM, "= for +=", "k + steps] += dy", "k + steps] = dy"),
    (TIME, "the last tap is missing", "k in range(len(W)):", "k in range(len(W) - 1):"),
    (TIME, "the window of dW off by one",
     "rows(x[:, k : k + steps]).T", "rows(np.roll(x, 1, axis=1)[:, k : k + steps]).T"),
    (TIME, "no gradient at the edge", "return dx, dW, db", "dx[:, -1] = 0; return dx, dW, db"),
    (FACTOR, "db a mean", "rows(dy).sum(axis=0)", "dy.mean(axis=1).sum(axis=0)"),
    (TIME, "the third tap by 0.1 %", "dy @ W[k].T", "dy @ W[k].T * (1.001 if k == 2 else 1)"),
)
_bugs(
    "rnn",
    (ORDER, "W_h is not transposed", "da_t @ W_h.T", "da_t @ W_h"),
    (TERM, "no gradient through time", CARRY, "dh = np.where(running, 0, dh)"),
    (TIME, "the state is not carried at step 3", CARRY, f"{CARRY} * (t != 3)"),
    (TIME, "truncated after two steps", CARRY, f"{CARRY} * (t % 2)"),
    (TIME, "the last step by 0.1 %", "da_t = (dh", "da_t = (1.001 if t == 3 else 1) * (dh"),
    (TIME, "the first step by 1e-4", "da_t = (dh", "da_t = (1 + 1e-4 * (t == 0)) * (dh"),
    (TIME, "the state of the step before", "hs[:, t] ** 2", "hs[:, t - 1] ** 2"),
    (TERM, "dh_last is forgotten", "or_zeros(dh_last, h_last)", "np.zeros_like(h_last)"),
    (TERM, "only the last output", "(dh + dhs[:, t])", "(dh + dhs[:, t] * (t == 3))"),
    (MASK, "one step too many",
     "(t < lengths)[:, None]\n            # h", "(t <= lengths)[:, None]\n            # h"),
    (MASK, "dh_last is lost in short rows", CARRY, "dh = np.where(running, da_t @ W_h.T, 0)"),
    (MASK, "lengths are ignored",
     "running = (t < lengths)[:, None]\n            # h", "running = True\n            # h"),
    (MASK, "the padding of da counts", "np.where(running, da_t, 0)", "da_t"),
    (MASK, "all rows end with the longest", CARRY, "dh = da_t @ W_h.T if running.any() else dh"),
    (PLACE, "one row of dh0 is 0",
     "return dx, dh, dW_x", "dh[lengths.argmax(), 1] = 0; return dx, dh, dW_x"),
    (SMALL, "the carried state by 1e-4", "da_t @ W_h.T", "(1 + 1e-4) * da_t @ W_h.T"),
    (BRANCH, "0.1 % where the state is negative",
     "da_t = (dh", "da_t = np.where(hs[:, t] < 0, 1.001, 1) * (dh"),
    (NONE, "None is not taken for dh_last", "or_zeros(dh_last, h_last)", "dh_last"),
    (NONE, "None means the last output's",
     "or_zeros(dh_last, h_last)", "dhs[:, -1] if dh_last is None else dh_last"),
    (NONE, "None is not taken for dhs", "or_zeros(dhs, hs)", "dhs"),
    (TIME, "dW_h by the state of the same step", H_PREV, "h_prev = hs", "state_term_backward"),
    (TERM, "dW_h without the initial state",
     H_PREV, H_PREV.replace("h0[", "0 * h0["), "state_term_backward"),
    (TIME, "dW_h by the state of two steps before",
     H_PREV,
     "h_prev = np.concatenate([h0[:, None], h0[:, None], hs[:, :-2]], axis=1)",
     "state_term_backward"),
    (ORDER, "dW_h is transposed",
     "return rows(zero_padding(h_prev, lengths)).T @ rows(da)",
     "return rows(da).T @ rows(zero_padding(h_prev, lengths))",
     "state_term_backward"),
    (SUM, "db of the first row",
     "rows(da).sum(axis=0)", "da[0].sum(axis=0)", "input_term_backward"),
    (SUM, "db of the first step",
     "rows(da).sum(axis=0)", "da[:, 0].sum(axis=0)", "input_term_backward"),
    (TIME, "dW_x by the input of the step before",
     "rows(zero_padding(x, lengths)).T",
     "rows(np.roll(zero_padding(x, lengths), 1, axis=1)).T",
     "input_term_backward"),
    (FACTOR, "dW_x is a mean over time",
     ".T @ rows(da)", ".T @ rows(da) / x.shape[1]", "input_term_backward"),
)
_bugs(
    "lstm",
    (ORDER, "the gates i, f, o, g", "[da_i, da_f, da_g, da_o]", "[da_i, da_f, da_o, da_g]"),
    (ORDER, "the gates f, i, g, o", "[da_i, da_f, da_g, da_o]", "[da_f, da_i, da_g, da_o]"),
    (ORDER, "i and g exchanged", "di, dg = dc_t * g, dc_t * i", "di, dg = dc_t * i, dc_t * g"),
    (ORDER, "o read as f", "dh_t * o * (1", "dh_t * f * (1"),
    (ORDER, "W_h is not transposed",
     "da_t @ W_h.T, dh", "da_t @ np.hstack([w.T for w in np.split(W_h, 4, axis=1)]).T, dh"),
    (TIME, "the cell of the same step", "cells[t - 1] if", "cells[t] if"),
    (TIME, "the initial cell is forgotten", "if t > 0 else c0", "if t > 0 else 0 * c0"),
    (TIME, "the cell is not carried", "np.where(running, dc_prev, dc)", "np.where(running, 0, dc)"),
    (TIME, "the cell is not carried at step 3",
     "np.where(running, dc_prev, dc)", "np.where(running & (t != 3), dc_prev, dc)"),
    (TIME, "tanh of the cell before", "np.tanh(cells[t])", "np.tanh(cells[t - 1])"),
    (TIME, "the last step by 1e-4",
     "dh_t = dh + dhs[:, t]", "dh_t = (dh + dhs[:, t]) * (1 + 1e-4 * (t == 3))"),
    (TIME, "the forget gate from step 2 on",
     "df, dc_prev = dc_t * c_prev,", "df, dc_prev = dc_t * c_prev * (t != 1),"),
    (TERM, "no gradient through h", "dh_t = dh + dhs[:, t]", "dh_t = dhs[:, t] + dh * (t == 3)"),
    (TERM, "no gradient through c", "dc_t = dc + dh_t", "dc_t = dh_t"),
    (TERM, "dc_last is forgotten", "or_zeros(dc_last, c_last)", "np.zeros_like(c_last)"),
    (FACTOR, "tanh' of the cell is missing", " * o * (1 - tanh_c**2)", " * o"),
    (FACTOR, "no square of g", "(1 - g**2)", "(1 - g)"),
    (FACTOR, "sigmoid' of f lacks a factor", "df * f * (1 - f)", "df * (1 - f)"),
    (FACTOR, "the output gate is missing", "dh_t * o * (", "dh_t * ("),
    (KEPT, "do by c", "do = dh_t * tanh_c", "do = dh_t * cells[t]"),
    (MASK, "the cell is lost past the end",
     "np.where(running, dc_prev, dc)", "np.where(running, dc_prev, 0)"),
    (MASK, "the cell moves past the end", "np.where(running, dc_prev, dc)", "dc_prev"),
    (MASK, "dh_last is lost in short rows",
     "np.where(running, da_t @ W_h.T, dh)", "np.where(running, da_t @ W_h.T, 0)"),
    (MASK, "lengths are ignored",
     "running = (t < lengths)[:, None]\n            da", "running = True\n            da"),
    (BRANCH, "0.1 % where the cell is negative",
     "do = dh_t * tanh_c", "do = dh_t * np.where(tanh_c < 0, 1.001, 1) * tanh_c"),
    (PLACE, "one bias by 1e-4", "return dx, dh, dc", "db[3] *= 1 + 1e-4; return dx, dh, dc"),
    (PLACE, "one entry of W_h by 0.1 %",
     "return dx, dh, dc", "dW_h[1, 5] *= 1.001; return dx, dh, dc"),
    (NONE, "None is not taken for dc_last", "or_zeros(dc_last, c_last)", "dc_last"),
    (NONE, "None means c_last",
     "or_zeros(dc_last, c_last)", "c_last if dc_last is None else dc_last"),
    (CONVENTION, "dh0 and dc0 exchanged", "dx, dh, dc, dW_x", "dx, dc, dh, dW_x"),
)
_bugs(
    "gru",
    (ORDER, "z and 1 - z exchanged",
     "dh_t * (1 - z), dh_t * (h_prev - n), dh_t * z",
     "dh_t * z, dh_t * (h_prev - n), dh_t * (1 - z)"),
    (ORDER, "the sign of dz", "(h_prev - n)", "(n - h_prev)"),
    (ORDER, "the gates z, r, n",
     "da_x_t = np.concatenate([da_r, da_z,", "da_x_t = np.concatenate([da_z, da_r,"),
    (FACTOR, "the reset is not applied", "da_n * h_n, da_n * r", "da_n * h_n, da_n"),
    (KEPT, "dr by the state", "da_n * h_n, da_n * r", "da_n * h_prev, da_n * r"),
    (KEPT, "the state after", "(h_prev - n)", "(hs[:, t] - n)"),
    (TERM, "dh_prev is forgotten", "dh_prev + da_h_t @ W_h.T", "da_h_t @ W_h.T"),
    (TERM, "the gates do not see the state", "dh_prev + da_h_t @ W_h.T", "dh_prev"),
    (ORDER, "db_h is db_x",
     "return dx, dh, dW_x, dW_h, db_x, db_h", "return dx, dh, dW_x, dW_h, db_x, db_x.copy()"),
    (TIME, "h_prev of two steps before", "hs[:, t - 1] if t > 0", "hs[:, max(t - 2, 0)] if t > 0"),
    (TIME, "the state is not carried at step 3",
     "dh_prev + da_h_t @ W_h.T", "(dh_prev + da_h_t @ W_h.T) * (t != 3)"),
    (TIME, "step 3 by 1e-4",
     "dh_t = dh + dhs[:, t]", "dh_t = (dh + dhs[:, t]) * (1 + 1e-4 * (t == 3))"),
    (MASK, "dh is lost past the end", "da_h_t @ W_h.T, dh)", "da_h_t @ W_h.T, 0)"),
    (MASK, "the padding of da_h counts",
     "da_x_t, 0), np.where(running, da_h_t, 0)", "da_x_t, 0), da_h_t"),
    (MASK, "one step too many",
     "(t < lengths)[:, None]\n            da_x", "(t <= lengths)[:, None]\n            da_x"),
    (BRANCH, "0.1 % where n is negative", "da_n = dn *", "da_n = np.where(n < 0, 1.001, 1) * dn *"),
    (NONE, "None is not taken for dh_last", "or_zeros(dh_last, h_last)", "dh_last"),
)
_bugs(
    "additive_attention",
    (FACTOR, "v is missing", "dscores[..., None] * v * (", "dscores[..., None] * ("),
    (FACTOR, "tanh' is missing", " * v * (1 - hidden**2)", " * v"),
    (TERM, "dweights is forgotten", ATTEND, ATTEND.replace("dweights, v", "0.0, v")),
    (SUM, "keys of the first query", "da.sum(axis=1)", "da[:, 0]"),
    (FACTOR, "a mean over the keys", "da.sum(axis=2)", "da.mean(axis=2)"),
    (SUM, "dv of the first row",
     "np.tensordot(dscores, hidden, axes=3)", "np.tensordot(dscores[0], hidden[0], axes=2)"),
    (KEPT, "keys and values exchanged", "rows(present).T @ rows(dk)", "rows(values).T @ rows(dk)"),
    (MASK, "the padding has a gradient",
     "dk @ W_k.T", "(dk + (dk == 0) * dk.mean(axis=1, keepdims=True)) @ W_k.T"),
    (NONE, "None is not taken for dweights", "or_zeros(dweights, weights)", "dweights"),
    (SMALL, "tanh' by 1e-4", "(1 - hidden**2)", "(1 + 1e-4 - hidden**2)"),
)
_bugs(
    "multiplicative_attention",
    (ORDER, "W is not transposed", "dq @ W.T", "dq @ W"),
    (ORDER, "dW is transposed", "rows(query).T @ rows(dq)", "rows(dq).T @ rows(query)"),
    (KEPT, "the query before its projection",
     "transposed(dscores) @ q", "transposed(dscores) @ query"),
    (KEPT, "values in place of keys", "dscores @ keys", "dscores @ values"),
    (MASK, "lengths are ignored", "values, weights)\n", "values, masked_softmax(scores, True))\n"),
    (TERM, "dweights is forgotten", ATTEND, ATTEND.replace("dweights, v", "0.0, v")),
    (NONE, "None is not taken for dcontext", "or_zeros(dcontext, context)", "dcontext"),
    (TERM, "the softmax without its sum",
     "return softmax_backward(dweights, weights), dvalues",
     "return weights * dweights, dvalues",
     "attend_backward"),
    (ORDER, "the weights are not transposed",
     "transposed(weights) @ dcontext", "weights @ dcontext", "attend_backward"),
    (KEPT, "the softmax of dweights alone",
     "dweights + dcontext @ transposed(values)", "dweights", "attend_backward"),
)
_bugs(
    "scaled_attention",
    (FACTOR, "dq is not scaled", "dq = dscores @ keys * D**-0.5", "dq = dscores @ keys"),
    (FACTOR, "dk is scaled twice", "@ q * D**-0.5", "@ q / D"),
    (FACTOR, "the scale without its root",
     "dq = dscores @ keys * D**-0.5", "dq = dscores @ keys / D"),
    (MASK, "no mask at all", SCALED, SCALED.replace("weights", "masked_softmax(scores, True)")),
    (MASK, "later keys are not masked",
     SCALED, SCALED.replace("weights", "masked_softmax(scores, allowed)")),
    (MASK, "lengths are ignored",
     SCALED, SCALED.replace("weights", "masked_softmax(scores, before)")),
    (MASK, "one later key is seen",
     SCALED,
     SCALED.replace("weights", "masked_softmax(scores, allowed & np.tri(T, S, 1, dtype=bool))")),
    (ORDER, "heads are tiled",
     "dk = dkeys.reshape(B, M, N // M, S, -1).sum(axis=2)",
     "dk = dkeys.reshape(B, N // M, M, S, -1).sum(axis=1)"),
    (SUM, "one head of each group",
     "dv = dvalues.reshape(B, M, N // M, S, -1).sum(axis=2)",
     "dv = dvalues.reshape(B, M, N // M, S, -1)[:, :, 0]"),
    (FACTOR, "a mean over the group",
     "dk = dkeys.reshape(B, M, N // M, S, -1).sum(",
     "dk = dkeys.reshape(B, M, N // M, S, -1).mean("),
    (ORDER, "dscores is not transposed", "transposed(dscores) @ q", "dscores @ q"),
    (KEPT, "keys in place of values", SCALED, SCALED.replace("values", "keys")),
    (PLACE, "the last key by 0.1 %",
     "return dq, dk, dv", "dk[:, :, 0] *= 1.001; return dq, dk, dv"),
    (BRANCH, "0.1 % where a score is negative",
     "dq = dscores @", "dq = (dscores * np.where(scores < 0, 1.001, 1)) @"),
    (BRANCH, "weights below 0.1 have no gradient",
     "dq = dscores @", "dq = (dscores * (weights > 0.1)) @"),
)
_bugs(
    "attention_flow",
    (TERM, "the maximum has no gradient", "axis=2) + dbest", "axis=2)"),
    (TERM, "h is not joined", "dh = dh + dhv * v + dhc * c", "dh = dhv * v + dhc * c"),
    (TERM, "h is used once", "dh = dh + dq * w_hu", "dh = dh"),
    (TERM, "u is used once", "du = du + transposed(dscores) @ q", "du = du"),
    (ORDER, "the first word for the closest",
     "np.put_along_axis(dscores, closest,", "np.put_along_axis(dscores, 0 * closest,"),
    (MASK, "the padding of dg counts", "np.split(zero_padding(dg, lengths), 4", "np.split(dg, 4"),
    (ORDER, "v and h exchanged",
     "[h, v, h v, h c]\n        dh, dv, dhv", "[h, v, h v, h c]\n        dv, dh, dhv"),
    (SUM, "c of means", "(dhc * h).sum(axis=1", "(dhc * h).mean(axis=1"),
)
