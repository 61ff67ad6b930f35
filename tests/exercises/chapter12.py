"""Answers to the exercises of chapter 12."""

from .answers import Answer

TINY = """None
    x = E[ids] + P
    q, k, v = (np.ascontiguousarray(z)[None, None] for z in np.split(x @ W_qkv, 3, axis=1))
    c, attention_backward = ops.scaled_dot_product_attention(q, k, v, causal=True)
    c = c[0, 0]
    x2 = x + c @ W_o
    a = x2 @ W_1
    g, gelu_backward = ops.gelu(a)
    x3 = x2 + g @ W_2
    loss, loss_backward = ops.cross_entropy(x3 @ E.T, targets)"""
TINY_BACK = """None, None, None, None, None, None
        dlogits = loss_backward(float(dloss))
        dE = dlogits.T @ x3
        dx3 = dlogits @ E
        dW_2 = g.T @ dx3
        da = gelu_backward(dx3 @ W_2.T)
        dW_1 = x2.T @ da
        dx2 = dx3 + da @ W_1.T
        dW_o = c.T @ dx2
        parts = attention_backward((dx2 @ W_o.T)[None, None])
        dqkv = np.concatenate([part[0, 0] for part in parts], axis=1)
        dW_qkv = x.T @ dqkv
        dx = dx2 + dqkv @ W_qkv.T
        np.add.at(dE, ids, dx)
        dP = dx"""

SIDE_BY_SIDE = """None
    h, norm_backward = ops.layer_norm(x, gain, bias)
    g, gelu_backward = ops.gelu(h @ U)
    y = x + h @ W + g @ V"""
SIDE_BACK = """None, None, None, None, None, None
        da = gelu_backward(dy @ V.T)
        dh, dgain, dbias = norm_backward(dy @ W.T + da @ U.T)
        dx = dy + dh
        dW, dU, dV = h.T @ dy, h.T @ da, g.T @ dy"""

ANSWERS = [
    Answer(
        "gelu",
        right=[
            "scale * (1 + 3 * 0.044715 * x**2)",
            "dy * ((1 + t) / 2 + x * (1 - t**2) * slope / 2)",
        ],
        wrong=[
            (0, "scale * (1 + 0.044715 * x**2)", "3 * 0.044715 x^2"),
            (1, "dy * (1 + t) / 2", "two"),
            (1, "dy * ((1 + t) / 2 + x * (1 - t**2) / 2)", "times du/dx"),
        ],
    ),
    Answer(
        "tied-embeddings",
        right=["dy.T @ x", "dy @ E", "dx[t]"],
        wrong=[
            (0, "np.zeros_like(E)", "it is the output layer"),
            (2, "dE[ids[t]] + dx[t]", "what the row of its id has already"),
            (2, "0 * dx[t]", "it is looked up"),
        ],
    ),
    Answer(
        "cache-step",
        right=[
            "np.concatenate([keys, k[:, None]], axis=1)",
            "np.concatenate([values, v[:, None]], axis=1)",
            "(keys @ q[:, :, None])[..., 0] / np.sqrt(q.shape[-1])",
            "(weights[:, None] @ values)[:, 0]",
        ],
        wrong=[
            (0, "np.concatenate([k[:, None], keys], axis=1)", "after those that are kept"),
            (2, "(keys @ q[:, :, None])[..., 0]", "the scale of attention"),
            (3, "(weights[:, None, 1:] @ values[:, 1:])[:, 0]", "its own included"),
        ],
    ),
    Answer(
        "top-p",
        right=["np.cumsum(ranked) - ranked < limit", "ranked[kept] / ranked[kept].sum()"],
        wrong=[
            (0, "np.cumsum(ranked) <= limit", "the one that crosses it"),
            (0, "(np.cumsum(ranked) < limit) | (ranked == ranked[0])", "until their sum reaches"),
            (1, "ranked[kept]", "sum to 1 again"),
        ],
    ),
    Answer(
        "tiny-gpt",
        right=[TINY, TINY_BACK],
        wrong=[
            (0, TINY.replace("causal=True", "causal=False"), "sees the positions up to t"),
            (0, TINY.replace("x2 = x + c @ W_o", "x2 = c @ W_o"), "after both branches"),
            (1, TINY_BACK.replace("dE = dlogits.T @ x3", "dE = np.zeros_like(E)"), "two uses"),
            (1, TINY_BACK.replace("np.add.at(dE, ids, dx)", "dE[ids] += dx"), "may occur twice"),
            (1, TINY_BACK.replace("dx = dx2 + dqkv", "dx = dqkv"), "at each residual sum"),
            (1, TINY_BACK.replace("x2.T @ da", "x.T @ da"), "which x does W_1 multiply"),
            (1, TINY_BACK.replace("dW_qkv = x.T", "dW_qkv = x2.T"), "with the first x"),
            (1, TINY_BACK.replace("dW_o = c.T @ dx2", "dW_o = c.T @ dx3"), "context^T dx"),
            (1, TINY_BACK.replace("g.T @ dx3", "a.T @ dx3"), "receives the gradient of the last x"),
        ],
    ),
    Answer(
        "gpt-size",
        right=[
            "V * D + C * D + layers * (12 * D**2 + 13 * D) + 2 * D",
            "8 * layers * D * C",
        ],
        wrong=[
            (0, "V * D + C * D + layers * (12 * D**2 + 9 * D) + 2 * D", "their biases"),
            (0, "2 * V * D + C * D + layers * (12 * D**2 + 13 * D) + 2 * D", "no weights of"),
            (0, "V * D + C * D + layers * (12 * D**2 + 13 * D)", "one norm ends it"),
            (1, "4 * layers * D * C", "a key and a value"),
        ],
    ),
    Answer(
        "parallel-block",
        right=[SIDE_BY_SIDE, SIDE_BACK],
        wrong=[
            (0, SIDE_BY_SIDE.replace("ops.gelu(h @ U)", "ops.gelu(x @ U)"), "read the same norm"),
            (0, SIDE_BY_SIDE.replace("x + h @ W", "h + h @ W"), "added to x itself"),
            (1, SIDE_BACK.replace("dx = dy + dh", "dx = dh"), "x is used in the sum"),
            (1, SIDE_BACK.replace("dy @ W.T + da", "da"), "which is used by two branches"),
            (1, SIDE_BACK.replace(" + da @ U.T", ""), "goes through norm_backward once"),
            (1, SIDE_BACK.replace("h.T @ dy, h", "x.T @ dy, h"), "W multiplies the norm"),
            (1, SIDE_BACK.replace("h.T @ da", "x.T @ da"), "Between U and the output"),
            (1, SIDE_BACK.replace("g.T @ dy", "(h @ U).T @ dy"), "what the activation returns"),
        ],
    ),
]
