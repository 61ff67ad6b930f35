"""A GPT in Python alone: numbers in lists, and each operation with its backward under it.

A matrix is a list of rows; the rows of the texts of a batch lie one after the other, T of each.
Numbers are Python's own, in double precision.

Legend: B batch, T time, R = B T rows, V vocabulary, D width, N heads.
"""

import math
from operator import add, mul

SCALE, EPS = math.sqrt(2 / math.pi), 1e-5
BETA1, BETA2, TINY = 0.9, 0.999, 1e-8


def new_step(config, params, inputs, targets, learning_rate):
    """Make a step of Adam on one batch, which returns the loss before it.

    params are lists by name; inputs and targets are B lists of T ids.
    """
    m, v = ({name: scaled(0.0, p) for name, p in params.items()} for _ in range(2))
    t = 0

    def step():
        nonlocal t
        t += 1
        loss, gradients = loss_and_gradients(config, params, inputs, targets)
        for name, p in params.items():
            adam(p, gradients[name], m[name], v[name], learning_rate, t)
        return loss

    return step


# --- the model ------------------------------------------------------------------------------------


def loss_and_gradients(config, p, inputs, targets):
    """The mean loss of the next tokens in nats, and the gradient of each parameter by name."""
    T, E, P = len(inputs[0]), p["embedding.E"], p["positions.E"]
    ids, targets = ([i for text in texts for i in text] for texts in (inputs, targets))
    # forward
    x = [plus(E[i], P[n % T]) for n, i in enumerate(ids)]
    backwards = []
    for layer in range(config.layers):
        x, backward = block(p, f"blocks.{layer}", x, config.heads, T)
        backwards.append(backward)
    y, norm_backward = layer_norm(x, p["norm.gain"], p["norm.bias"])
    loss, dlogits = cross_entropy(product(y, transposed(E)), targets)
    # backward
    gradients = {}
    dE = product(transposed(dlogits), y)
    dx, gradients["norm.gain"], gradients["norm.bias"] = norm_backward(product(dlogits, E))
    for backward in reversed(backwards):
        dx, of_block = backward(dx)
        gradients |= of_block
    dP = scaled(0.0, P)
    for n, i in enumerate(ids):
        dE[i], dP[n % T] = plus(dE[i], dx[n]), plus(dP[n % T], dx[n])
    return loss, gradients | {"embedding.E": dE, "positions.E": dP}


def block(p, name, x, heads, T):
    """x + attention(norm_1(x)), then x + feed_forward(norm_2(x)): (R, D) -> (R, D)."""
    p = {part.removeprefix(f"{name}."): array for part, array in p.items()}
    # x = x + attention(norm_1(x))
    h, norm_1_backward = layer_norm(x, p["norm_1.gain"], p["norm_1.bias"])
    h, qkv_backward = linear(h, p["attention.W_qkv"], p["attention.b_qkv"])
    h, attention_backward = attention(h, heads, T)
    h, o_backward = linear(h, p["attention.W_o"], p["attention.b_o"])
    x = sums(x, h)
    # x = x + feed_forward(norm_2(x))
    h, norm_2_backward = layer_norm(x, p["norm_2.gain"], p["norm_2.bias"])
    h, first_backward = linear(h, p["feed_forward.W_1"], p["feed_forward.b_1"])
    h, gelu_backward = gelu(h)
    h, second_backward = linear(h, p["feed_forward.W_2"], p["feed_forward.b_2"])

    def backward(dy):
        d = {}
        # y = x + feed_forward(norm_2(x))
        dh, d["feed_forward.W_2"], d["feed_forward.b_2"] = second_backward(dy)
        dh, d["feed_forward.W_1"], d["feed_forward.b_1"] = first_backward(gelu_backward(dh))
        dh, d["norm_2.gain"], d["norm_2.bias"] = norm_2_backward(dh)
        dx = sums(dy, dh)
        # x = x + attention(norm_1(x))
        dh, d["attention.W_o"], d["attention.b_o"] = o_backward(dx)
        dh, d["attention.W_qkv"], d["attention.b_qkv"] = qkv_backward(attention_backward(dh))
        dh, d["norm_1.gain"], d["norm_1.bias"] = norm_1_backward(dh)
        return sums(dx, dh), {f"{name}.{part}": gradient for part, gradient in d.items()}

    return sums(x, h), backward


# --- operations -----------------------------------------------------------------------------------


def linear(x, W, b):
    """y = x W + b.  backward(dy) -> dx, dW, db."""

    def backward(dy):
        return product(dy, transposed(W)), product(transposed(x), dy), [*map(sum, transposed(dy))]

    return [plus(row, b) for row in product(x, W)], backward


def layer_norm(x, gain, bias):
    """Rows of mean 0 and variance 1, times gain, plus bias.  backward(dy) -> dx, dgain, dbias."""
    D, y, x_hats, scales = len(gain), [], [], []
    for row in x:
        mean = sum(row) / D
        centred = [number - mean for number in row]
        scales.append(1 / math.sqrt(dot(centred, centred) / D + EPS))
        x_hats.append(scaled(scales[-1], centred))
        y.append(plus(times(gain, x_hats[-1]), bias))

    def backward(dy):
        dx = []
        for drow, x_hat, scale in zip(dy, x_hats, scales, strict=True):
            dx_hat = times(gain, drow)
            along_ones, along_x_hat = sum(dx_hat) / D, dot(dx_hat, x_hat) / D
            dx.append(
                [
                    scale * (d - along_ones - h * along_x_hat)
                    for d, h in zip(dx_hat, x_hat, strict=True)
                ]
            )
        dgain = [*map(sum, transposed(map(times, dy, x_hats)))]
        return dx, dgain, [*map(sum, transposed(dy))]

    return y, backward


def gelu(x):
    """y = x (1 + tanh(u)) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3).  backward(dy) -> dx."""
    tanhs = [[math.tanh(SCALE * (x + 0.044715 * x**3)) for x in row] for row in x]

    def slope(x, tanh):
        du = SCALE * (1 + 3 * 0.044715 * x * x)
        return (1 + tanh) / 2 + x * (1 - tanh * tanh) * du / 2

    def backward(dy):
        return [times(drow, map(slope, *rows)) for drow, *rows in zip(dy, x, tanhs, strict=True)]

    return [
        [x * (1 + tanh) / 2 for x, tanh in zip(*rows, strict=True)]
        for rows in zip(x, tanhs, strict=True)
    ], backward


def attention(qkv, heads, T):
    """Causal attention in heads: (R, 3 D) -> (R, D).  backward(dy) -> dqkv."""
    rows, D = len(qkv), len(qkv[0]) // 3
    width = D // heads
    y, kept = [[0.0] * D for _ in range(rows)], []
    for start in range(0, rows, T):
        for column in range(0, D, width):
            q, k, v = (part(qkv, start, T, column + i * D, width) for i in range(3))
            scores = scaled(width**-0.5, product(q, transposed(k)))
            weights = [softmax(row[: t + 1]) + [0.0] * (T - t - 1) for t, row in enumerate(scores)]
            put(y, start, column, product(weights, v))
            kept.append((start, column, q, k, v, weights))

    def backward(dy):
        dqkv = [[0.0] * 3 * D for _ in range(rows)]
        for start, column, q, k, v, weights in kept:
            # y = weights v
            d = part(dy, start, T, column, width)
            dweights, dv = product(d, transposed(v)), product(transposed(weights), d)
            # weights = softmax(q k^T / sqrt(width))
            dscores = []
            for w, dw in zip(weights, dweights, strict=True):
                mean = dot(w, dw)
                dscores.append([p * (dp - mean) * width**-0.5 for p, dp in zip(w, dw, strict=True)])
            dq, dk = product(dscores, k), product(transposed(dscores), q)
            for i, gradient in enumerate((dq, dk, dv)):
                put(dqkv, start, column + i * D, gradient)
        return dqkv

    return y, backward


def cross_entropy(logits, targets):
    """The mean of -log softmax(logits)[target] over the rows, and dlogits."""
    loss, rows, dlogits = 0.0, len(logits), []
    for row, target in zip(logits, targets, strict=True):
        p = softmax(row)
        loss -= math.log(p[target]) / rows
        p[target] -= 1
        dlogits.append(scaled(1 / rows, p))
    return loss, dlogits


def softmax(scores):
    largest = max(scores)
    exps = [math.exp(score - largest) for score in scores]
    return scaled(1 / sum(exps), exps)


def adam(p, g, m, v, learning_rate, t):
    """Change the numbers of p and their moments in place."""
    if isinstance(p[0], list):
        for rows in zip(p, g, m, v, strict=True):
            adam(*rows, learning_rate, t)
        return
    for i, gradient in enumerate(g):
        m[i] = BETA1 * m[i] + (1 - BETA1) * gradient
        v[i] = BETA2 * v[i] + (1 - BETA2) * gradient * gradient
        m_hat, v_hat = m[i] / (1 - BETA1**t), v[i] / (1 - BETA2**t)
        p[i] -= learning_rate * m_hat / (math.sqrt(v_hat) + TINY)


# --- vectors and matrices -------------------------------------------------------------------------


def dot(a, b):
    return sum(map(mul, a, b))


def plus(a, b):
    return [*map(add, a, b)]


def times(a, b):
    return [*map(mul, a, b)]


def sums(a, b):
    return [*map(plus, a, b)]


def scaled(factor, a):
    return [scaled(factor, x) if isinstance(x, list) else factor * x for x in a]


def transposed(a):
    return [*zip(*a, strict=True)]


def product(a, b):
    columns = transposed(b)
    return [[dot(row, column) for column in columns] for row in a]


def part(a, row, rows, column, columns):
    return [line[column : column + columns] for line in a[row : row + rows]]


def put(a, row, column, values):
    """Write a matrix into a, its first number at a row and a column."""
    for line, numbers in zip(a[row:], values, strict=False):
        line[column : column + len(numbers)] = numbers
