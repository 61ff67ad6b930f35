"""The same GPT in NumPy: an array for each matrix, and no loop but over the blocks.

It is `in_python` with the same functions: one line that computes with whole arrays takes the place
of the loops.

Legend: B batch, T time, R = B T rows, V vocabulary, D width, N heads.
"""

import math

import numpy as np

SCALE, EPS = math.sqrt(2 / math.pi), 1e-5
BETA1, BETA2, TINY = 0.9, 0.999, 1e-8


def new_step(config, params, inputs, targets, learning_rate):
    """Make a step of Adam on one batch, which returns the loss before it.

    params are arrays by name; inputs and targets (B, T).
    """
    m, v = ({name: np.zeros_like(p) for name, p in params.items()} for _ in range(2))
    t = 0

    def step():
        nonlocal t
        t += 1
        loss, gradients = loss_and_gradients(config, params, inputs, targets)
        for name, p in params.items():
            adam(p, gradients[name], m[name], v[name], learning_rate, t)
        return float(loss)

    return step


# --- the model ------------------------------------------------------------------------------------


def loss_and_gradients(config, p, inputs, targets):
    """The mean loss of the next tokens in nats, and the gradient of each parameter by name."""
    (B, T), E, P = inputs.shape, p["embedding.E"], p["positions.E"]
    # forward
    x = (E[inputs] + P).reshape(B * T, -1)  # products of one matrix each, not of one per text
    backwards = []
    for layer in range(config.layers):
        x, backward = block(p, f"blocks.{layer}", x, config.heads, T)
        backwards.append(backward)
    y, norm_backward = layer_norm(x, p["norm.gain"], p["norm.bias"])
    loss, dlogits = cross_entropy(y @ E.T, targets.ravel())
    # backward
    gradients = {}
    dE = dlogits.T @ y
    dx, gradients["norm.gain"], gradients["norm.bias"] = norm_backward(dlogits @ E)
    for backward in reversed(backwards):
        dx, of_block = backward(dx)
        gradients |= of_block
    np.add.at(dE, inputs.ravel(), dx)
    dP = dx.reshape(B, T, -1).sum(axis=0)
    return loss, gradients | {"embedding.E": dE, "positions.E": dP}


def block(p, name, x, heads, T):
    """x + attention(norm_1(x)), then x + feed_forward(norm_2(x)): (R, D) -> (R, D)."""
    p = {part.removeprefix(f"{name}."): array for part, array in p.items()}
    # x = x + attention(norm_1(x))
    h, norm_1_backward = layer_norm(x, p["norm_1.gain"], p["norm_1.bias"])
    h, qkv_backward = linear(h, p["attention.W_qkv"], p["attention.b_qkv"])
    h, attention_backward = attention(h, heads, T)
    h, o_backward = linear(h, p["attention.W_o"], p["attention.b_o"])
    x = x + h
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
        dx = dy + dh
        # x = x + attention(norm_1(x))
        dh, d["attention.W_o"], d["attention.b_o"] = o_backward(dx)
        dh, d["attention.W_qkv"], d["attention.b_qkv"] = qkv_backward(attention_backward(dh))
        dh, d["norm_1.gain"], d["norm_1.bias"] = norm_1_backward(dh)
        return dx + dh, {f"{name}.{part}": gradient for part, gradient in d.items()}

    return x + h, backward


# --- operations -----------------------------------------------------------------------------------


def linear(x, W, b):
    """y = x W + b.  backward(dy) -> dx, dW, db."""

    def backward(dy):
        return dy @ W.T, x.T @ dy, dy.sum(axis=0)

    return x @ W + b, backward


def layer_norm(x, gain, bias):
    """Rows of mean 0 and variance 1, times gain, plus bias.  backward(dy) -> dx, dgain, dbias."""
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPS)
    x_hat = centred * scale

    def backward(dy):
        dx_hat = dy * gain
        along_ones = dx_hat.mean(axis=-1, keepdims=True)
        along_x_hat = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        dx = scale * (dx_hat - along_ones - x_hat * along_x_hat)
        return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    return gain * x_hat + bias, backward


def gelu(x):
    """y = x (1 + tanh(u)) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3).  backward(dy) -> dx."""
    tanh = np.tanh(SCALE * (x + 0.044715 * x * x * x))

    def backward(dy):
        du = SCALE * (1 + 3 * 0.044715 * x * x)
        return dy * ((1 + tanh) / 2 + x * (1 - tanh * tanh) * du / 2)

    return x * (1 + tanh) / 2, backward


def attention(qkv, heads, T):
    """Causal attention in heads: (R, 3 D) -> (R, D).  backward(dy) -> dqkv."""
    R, D = len(qkv), qkv.shape[1] // 3
    width = D // heads
    # (B, N, T, width) each
    q, k, v = qkv.reshape(-1, T, 3, heads, width).transpose(2, 0, 3, 1, 4)
    scores = q @ k.swapaxes(-1, -2) * width**-0.5
    weights = softmax(np.where(np.tri(T, dtype=bool), scores, -np.inf))
    y = weights @ v

    def backward(dy):
        # y = weights v
        dy = dy.reshape(-1, T, heads, width).swapaxes(1, 2)
        dweights, dv = dy @ v.swapaxes(-1, -2), weights.swapaxes(-1, -2) @ dy
        # weights = softmax(q k^T / sqrt(width))
        mean = (weights * dweights).sum(axis=-1, keepdims=True)
        dscores = weights * (dweights - mean) * width**-0.5
        dqkv = np.stack([dscores @ k, dscores.swapaxes(-1, -2) @ q, dv])
        return dqkv.transpose(1, 3, 0, 2, 4).reshape(R, 3 * D)

    return y.swapaxes(1, 2).reshape(R, D), backward


def cross_entropy(logits, targets):
    """The mean of -log softmax(logits)[target] over the rows, and dlogits."""
    p = softmax(logits)
    of_target = np.arange(len(targets)), targets
    loss = -np.log(p[of_target]).mean()
    p[of_target] -= 1
    return loss, p / len(targets)


def softmax(scores):
    exps = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def adam(p, g, m, v, learning_rate, t):
    """Change the numbers of p and their moments in place."""
    m += (1 - BETA1) * (g - m)
    v += (1 - BETA2) * (g * g - v)
    m_hat, v_hat = m / (1 - BETA1**t), v / (1 - BETA2**t)
    p -= learning_rate * m_hat / (np.sqrt(v_hat) + TINY)
