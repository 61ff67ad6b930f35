"""Each statement of a wrong backward is repaired in turn: which repair makes all right."""

import numpy as np
from plotting import COLOURS, new_figure, save

FORWARD = (
    "scale = q.shape[1] ** -0.5",
    "scores = q @ k.T * scale",
    "e = np.exp(scores)",
    "weights = e / e.sum(axis=1, keepdims=True)",
    "y = weights @ v",
)
BACKWARD = (
    "dv = weights.T @ dy",
    "dweights = dy @ v.T",
    "dscores = weights * dweights",  # without the sum over the row
    "dq = dscores @ k * scale",
    "dk = dscores.T @ q * scale",
)
GRADIENTS = ("dq", "dk", "dv")


def run(statements, names, moved="", by=0.0):
    """The values of all names; one of them is moved after its statement."""
    names = {"np": np, **names}
    if moved in names:
        names[moved] = names[moved] + by
    for statement in statements:
        exec(statement, names)
        if statement.startswith(f"{moved} ="):
            names[moved] = names[moved] + by
    return names


def unit(shape, k):
    return np.eye(np.prod(shape))[k].reshape(shape)


def slope(name):
    """The measured slope of the loss by a value of the forward, Richardson's combination."""

    def loss(by):
        return np.sum(dy * run(FORWARD, given, name, by)["y"])

    def difference(h, k):
        change = h * unit(kept[name].shape, k)
        return (loss(change) - loss(-change)) / (2 * h)

    slopes = [(4 * difference(5e-4, k) - difference(1e-3, k)) / 3 for k in range(kept[name].size)]
    return np.reshape(slopes, kept[name].shape)


def gradients(moved="", by=0.0):
    names = run(BACKWARD, {**kept, "dy": dy}, moved, by)
    return np.concatenate([names[name].ravel() for name in GRADIENTS])


def errors(found):
    """The largest relative error of each gradient."""
    ends = np.cumsum([given["q"].size, given["k"].size])
    parts = np.split(np.abs(found - measured), ends)
    largest = [np.max(np.abs(slope(name[1:]))) for name in GRADIENTS]
    return [float(np.max(part) / size) for part, size in zip(parts, largest, strict=True)]


rng = np.random.default_rng(1)
given = {"q": rng.standard_normal((3, 2)), "k": rng.standard_normal((4, 2))}
given["v"] = rng.standard_normal((4, 3))
kept = run(FORWARD, given)
dy = rng.standard_normal((3, 3))
measured = np.concatenate([slope(name[1:]).ravel() for name in GRADIENTS])
own = run(BACKWARD, {**kept, "dy": dy})

rows = [("as written", errors(gradients()), None)]
for statement in BACKWARD:
    name = statement.split()[0]
    # The gradients are affine in the statement's value: as many runs as it has numbers, and a
    # least-squares solution.
    before, size = gradients(), own[name].size
    A = np.transpose([gradients(name, unit(own[name].shape, k)) - before for k in range(size)])
    change = np.linalg.lstsq(A, measured - before, rcond=None)[0].reshape(own[name].shape)
    is_slope = np.allclose(own[name], slope(name[1:]), rtol=1e-6, atol=1e-9)
    rows.append((statement, errors(gradients(name, change)), is_slope))

figure, axes = new_figure(width=6.6, height=3.3)
axes.set_axis_off()
axes.set_xlim(0, 10)
axes.set_ylim(-6.6, 1.2)
places = (5.6, 6.75, 7.9, 9.3)
axes.text(6.75, 1.0, "error after its repair", ha="center", size=11)
axes.text(9.3, 1.0, "own value", ha="center", size=11)
for x, title in zip(places, (*GRADIENTS, "is a slope"), strict=True):
    axes.text(x, 0.3, title, ha="center", size=11)
axes.axhline(0, color="black", linewidth=0.8)
for number, (words, found, is_slope) in enumerate(rows):
    y = -0.8 - 1.05 * number
    good = [error < 1e-10 for error in found]
    accused = all(good) and is_slope is False
    if accused:
        axes.axhspan(y - 0.3, y + 0.75, color=COLOURS[1], alpha=0.15, linewidth=0)
    axes.text(0.1, y, words, size=11, family="monospace" if number else None)
    for x, error, right in zip(places, found, good, strict=False):
        text, colour = ("< 1e-10", COLOURS[2]) if right else (f"{error:.1f}", COLOURS[1])
        axes.text(x, y, text, ha="center", size=11, color=colour)
    if is_slope is not None:
        text, colour = ("yes", COLOURS[2]) if is_slope else ("no", COLOURS[1])
        axes.text(places[-1], y, text, ha="center", size=11, color=colour)
save(figure, __file__)
