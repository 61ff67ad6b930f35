"""Answers to the exercises of chapter 19."""

from .answers import Answer

GROUPED = """None
    K, V = (np.repeat(z, len(q) // len(k), axis=0) for z in (k, v))
    weights = np.exp(q @ K.transpose(0, 2, 1) / np.sqrt(q.shape[2]))
    weights = weights / weights.sum(axis=2, keepdims=True)
    y = weights @ V"""
GROUPED_BACK = """None, None, None
        M = len(k)
        dweights = dy @ V.transpose(0, 2, 1)
        dscores = weights * (dweights - (dweights * weights).sum(axis=2, keepdims=True))
        dscores = dscores / np.sqrt(q.shape[2])
        dq = dscores @ K
        dk = (dscores.transpose(0, 2, 1) @ q).reshape(M, -1, *k.shape[1:]).sum(axis=1)
        dv = (weights.transpose(0, 2, 1) @ dy).reshape(M, -1, *k.shape[1:]).sum(axis=1)"""

NORMED = """None
    normed_q, q_backward = ops.rms_norm(q, gain)
    normed_k, k_backward = ops.rms_norm(k, gain)
    scale = 1 / np.sqrt(q.shape[1])
    weights, softmax_backward = ops.softmax(normed_q @ normed_k.T * scale)
    y = weights @ v"""
NORMED_BACK = """None, None, None, None
        ds = softmax_backward(dy @ v.T) * scale
        dq, of_q = q_backward(ds @ normed_k)
        dk, of_k = k_backward(ds.T @ normed_q)
        dv, dgain = weights.T @ dy, of_q + of_k"""
LATENT = """None
    keys, values, scale = c @ K, c @ V, 1 / np.sqrt(q.shape[-1])
    weights = np.exp(q @ keys.transpose(0, 2, 1) * scale)
    weights = weights / weights.sum(axis=-1, keepdims=True)
    y = weights @ values"""
LATENT_BACK = """None, None, None, None
        dweights = dy @ values.transpose(0, 2, 1)
        ds = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True)) * scale
        dkeys, dvalues = ds.transpose(0, 2, 1) @ q, weights.transpose(0, 2, 1) @ dy
        dq, dK, dV = ds @ keys, c.T @ dkeys, c.T @ dvalues
        dc = (dkeys @ K.transpose(0, 2, 1) + dvalues @ V.transpose(0, 2, 1)).sum(axis=0)"""

ANSWERS = [
    Answer(
        "rms-norm",
        right=[
            "1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)",
            "(dy * x_hat).sum(axis=0)",
            "r * (dx_hat - x_hat * (dx_hat * x_hat).mean(axis=-1, keepdims=True))",
        ],
        wrong=[
            (0, "1 / np.sqrt((x**2).sum(axis=-1, keepdims=True) + 1e-5)", "mean(x^2)"),
            (0, "1 / (np.sqrt((x**2).mean(axis=-1, keepdims=True)) + 1e-5)", "of the root"),
            (1, "(dy * x_hat).mean(axis=0)", "Uses add up"),
            (2, "r * dx_hat", "two paths"),
            (2, "r * (dx_hat - (dx_hat * x_hat).mean(axis=-1, keepdims=True))", "two paths"),
        ],
    ),
    Answer(
        "rotary",
        right=[
            "np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)",
            "np.concatenate([dfirst * cos + dsecond * sin, dsecond * cos - dfirst * sin], axis=-1)",
        ],
        wrong=[
            (
                0,
                "np.concatenate([first * cos + second * sin, second * cos - first * sin], axis=-1)",
                "first cos - second sin",
            ),
            (
                1,
                "np.concatenate([dfirst * cos - dsecond * sin, "
                "dfirst * sin + dsecond * cos], axis=-1)",
                "turns back",
            ),
            (1, "np.concatenate([dfirst * cos, dsecond * cos], axis=-1)", "turns back"),
        ],
    ),
    Answer(
        "silu",
        right=["dy * s * (1 + x * (1 - s))"],
        wrong=[
            (0, "dy * s", "a product of two functions"),
            (0, "dy * s * (1 - s)", "a product of two functions"),
            (0, "s * (1 + x * (1 - s))", "a product of two functions"),
        ],
    ),
    Answer(
        "grouped-queries",
        right=[GROUPED, GROUPED_BACK],
        wrong=[
            (
                0,
                GROUPED.replace(
                    "np.repeat(z, len(q) // len(k), axis=0)", "np.tile(z, (len(q) // len(k), 1, 1))"
                ),
                "share key head 0",
            ),
            (0, GROUPED.replace(" / np.sqrt(q.shape[2])", ""), "the scale of its own width"),
            (1, GROUPED_BACK.replace(".sum(axis=1)", ".mean(axis=1)"), "uses add up"),
            (
                1,
                GROUPED_BACK.replace("reshape(M, -1", "reshape(-1, M").replace(
                    ".sum(axis=1)", ".sum(axis=0)"
                ),
                "uses add up",
            ),
        ],
    ),
    Answer(
        "normed-queries",
        right=[NORMED, NORMED_BACK],
        wrong=[
            (0, NORMED.replace("1 / np.sqrt(q.shape[1])", "1.0"), "the scale is 1 / sqrt(d)"),
            (0, NORMED.replace("ops.rms_norm(k, gain)", "k, None"), "Queries and keys are"),
            (1, NORMED_BACK.replace("ds @ normed_k", "ds @ k"), "with the normalised key"),
            (1, NORMED_BACK.replace("ds.T @ normed_q", "ds.T @ q"), "with the normalised query"),
            (1, NORMED_BACK.replace("of_q + of_k", "of_q"), "One gain has two uses"),
            (
                1,
                NORMED_BACK.replace("weights.T @ dy", "-weights.T @ dy"),
                "the slopes of its weights",
            ),
            (
                1,
                NORMED_BACK.replace(
                    "dq, of_q = q_backward(ds @ normed_k)",
                    "dq, of_q = ds @ normed_k, q_backward(ds @ normed_k)[1]",
                ),
                "a backward pass of its own",
            ),
        ],
    ),
    Answer(
        "latent-attention",
        right=[LATENT, LATENT_BACK],
        wrong=[
            (
                0,
                LATENT.replace("1 / np.sqrt(q.shape[-1])", "1 / np.sqrt(c.shape[-1])"),
                "softmax(q keys^T / sqrt(d))",
            ),
            (0, LATENT.replace("c @ K, c @ V", "c @ K[:1], c @ V[:1]"), "Each head has its own"),
            (1, LATENT_BACK.replace(" + dvalues @ V.transpose(0, 2, 1)", ""), "c has 2 N uses"),
            (1, LATENT_BACK.replace(").sum(axis=0)", ").mean(axis=0)"), "of every head"),
            (
                1,
                LATENT_BACK.replace(" - (dweights * weights).sum(axis=-1, keepdims=True)", ""),
                "subtracts a mean",
            ),
            (1, LATENT_BACK.replace("c.T @ dkeys", "-c.T @ dkeys"), "The keys of a head are"),
            (1, LATENT_BACK.replace("c.T @ dvalues", "c.T @ dkeys"), "The values of a head are"),
        ],
    ),
]
