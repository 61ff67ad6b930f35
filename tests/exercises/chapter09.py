"""Answers to the exercises of chapter 9."""

from .answers import Answer

SOFTMAX = "weights * (dweights - (weights * dweights).sum(axis=-1, keepdims=True))"

BEAM = """None, None
    kept = [(0.0, [], state)]
    for _ in range(limit):
        candidates = []
        for one in kept:
            total, ids, state = one
            if ids[-1:] == [eos]:
                candidates.append(one)
                continue
            log_p, after = step(ids[-1] if ids else bos, state)
            for k in range(len(log_p)):
                candidates.append((total + log_p[k], [*ids, k], after))
        kept = sorted(candidates, key=lambda one: -one[0])[:beam]
    total, ids, _ = kept[0]
    ids = ids if ids[-1:] != [eos] else ids[:-1]"""

PLACE = """None
    s = np.arange(values.shape[1]) - c[:, None]
    weights = np.exp(-b[:, None] * s**2)
    y = (weights[..., None] * values).sum(axis=1)"""
PLACE_BACK = """None, None, None
        down = (dy[:, None] * values).sum(axis=2) * weights
        dc = (down * 2 * b[:, None] * s).sum(axis=1)
        db = -(down * s**2).sum(axis=1)
        dvalues = weights[..., None] * dy[:, None]"""

ANSWERS = [
    Answer(
        "dot-scores",
        right=[
            "query @ keys.transpose(0, 2, 1)",
            "dscores @ keys",
            "dscores.transpose(0, 2, 1) @ query",
        ],
        wrong=[
            (0, "query @ keys.transpose(0, 2, 1) / 2", "the sum over d"),
            (1, "dscores @ keys / keys.shape[1]", "with every key j"),
            (2, "dscores.transpose(0, 2, 1) @ query / query.shape[1]", "with every query t"),
            (2, "dscores @ keys", "dkeys has shape"),
        ],
    ),
    Answer(
        "masked-softmax",
        right=[
            "np.where(allowed, np.exp(scores - scores.max(axis=-1, keepdims=True)), 0); "
            "weights = weights / weights.sum(axis=-1, keepdims=True)",
            SOFTMAX,
        ],
        wrong=[
            (
                0,
                "np.exp(scores - scores.max(axis=-1, keepdims=True)); "
                "weights = np.where(allowed, weights / weights.sum(axis=-1, keepdims=True), 0)",
                "over the real keys",
            ),
            (
                0,
                "np.exp(np.minimum(scores, 700)) * allowed; "
                "weights = weights / weights.sum(axis=-1, keepdims=True)",
                "Subtract the maximum",
            ),
            (1, "weights * dweights", "has an effect on all weights"),
            (1, "weights * (1 - weights) * dweights", "has an effect on all weights"),
        ],
    ),
    Answer(
        "dot-attention",
        right=[
            "query @ keys.transpose(0, 2, 1)",
            "exp / exp.sum(axis=-1, keepdims=True)",
            "weights @ values",
            "dcontext @ values.transpose(0, 2, 1)",
            "weights.transpose(0, 2, 1) @ dcontext",
            SOFTMAX,
            "dscores @ keys",
            "dscores.transpose(0, 2, 1) @ query",
        ],
        wrong=[
            (1, "exp / exp.sum(axis=1, keepdims=True)", "a softmax over the keys"),
            (0, "query @ keys.transpose(0, 2, 1) * query.shape[-1] ** -0.5", "Scores of all"),
            (5, "weights * dweights", "subtracts a mean"),
            (5, "weights * (1 - weights) * dweights", "subtracts a mean"),
            (4, "np.ones_like(values) * dcontext.sum(axis=1, keepdims=True)", "with the slope"),
            (6, "dscores @ keys / keys.shape[1]", "from each key"),
            (7, "dscores.transpose(0, 2, 1) @ query / 2", "from each query"),
        ],
    ),
    Answer(
        "additive-attention",
        right=[
            "weights.transpose(0, 2, 1) @ dcontext",
            SOFTMAX,
            "(dscores[..., None] * hidden).sum(axis=(0, 1, 2))",
            "dscores[..., None] * v * (1 - hidden**2)",
            "dz.sum(axis=2)",
            "dz.sum(axis=1)",
            "dq @ W_q.T",
            'np.einsum("btd,bta->da", query, dq)',
            "dk @ W_k.T",
            'np.einsum("bsc,bsa->ca", keys, dk)',
        ],
        wrong=[
            (1, "weights * dweights", "the softmax subtracts a mean"),
            (2, "(dscores[..., None] * hidden).mean(axis=(0, 1, 2))", "used in every pair"),
            (4, "dz.mean(axis=2)", "of all keys"),
            (5, "dz.mean(axis=1)", "of all queries"),
            (7, 'np.einsum("btd,bta->da", query, dq) / len(query)', "of all keys added up"),
            (9, 'np.einsum("bsc,bsa->ca", keys, dk) / len(keys)', "of all queries added up"),
            (8, "dk @ W_k.T / 2", "over which axis of dz"),
        ],
    ),
    Answer(
        "greedy",
        right=["step(last, state)", "int(np.argmax(logits))", "last == eos"],
        wrong=[
            (0, "step(bos, state)", "the token before"),
            (0, "step(last, 0)", "the state before"),
            (2, "len(ids) > 0 and last == eos", "is not part of it"),
            (2, "False", "Stop at EOS"),
            (2, "last == bos", "Stop at EOS"),
            (1, "np.argmax(logit)", "logits, state = step(last, state)"),
        ],
    ),
    Answer(
        "beam-step",
        right=[
            "totals[:, None] + logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))",
            "np.argsort(-sums, axis=None)[:beam]",
            "np.divmod(best, V)",
            "sums[parents, ids]",
        ],
        wrong=[
            (0, "totals[:, None] + logits", "Logits are not log probabilities"),
            (
                0,
                "0 * totals[:, None] + logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))",
                "the parent's total plus",
            ),
            (0, "totals + logits - np.log(np.exp(logits).sum())", "All K V extensions"),
            (
                0,
                "totals[:, None] + logits - np.log(np.exp(logits).sum())",
                "one number for each row",
            ),
            (1, "np.argsort(sums, axis=None)[:beam]", "The best extension comes first"),
            (1, "np.argsort(-sums[0])[:beam]", "orders all of them"),
            (2, "(best // V, best // V)", "parent times V plus id"),
            (3, "totals[parents]", "plus the log probability of its"),
        ],
    ),
    Answer(
        "beam-search",
        right=[BEAM],
        wrong=[
            (0, BEAM.replace("[:beam]", "[:1]"), "All extensions of all hypotheses compete"),
            (0, BEAM.replace("total + log_p[k]", "log_p[k]"), "sums the log-probabilities"),
            (0, BEAM.replace("candidates.append(one)", "pass"), "stays in the competition"),
            (0, BEAM.replace(" if ids[-1:] != [eos] else ids[:-1]", ""), "not one of the ids"),
            (0, BEAM.replace("-one[0]", "one[0]"), "this is greedy search"),
        ],
    ),
    Answer(
        "location-attention",
        right=[PLACE, PLACE_BACK],
        wrong=[
            (
                0,
                PLACE + "\n    y = y / weights.sum(axis=1, keepdims=True)",
                "not divided by their sum",
            ),
            (0, PLACE.replace("- c[:, None]", "- c[:, None] + 1"), "the largest at the centre"),
            (1, PLACE_BACK.replace("2 * b[:, None] * s", "-2 * b[:, None] * s"), "c moves the"),
            (1, PLACE_BACK.replace("2 * b[:, None] * s", "2 * s"), "The slope of exp(u)"),
            (1, PLACE_BACK.replace("-(down", "(down"), "b scales all exponents"),
            (
                1,
                PLACE_BACK.replace(".sum(axis=2) * weights", ".sum(axis=2)"),
                "The slope of exp(u)",
            ),
            (
                1,
                PLACE_BACK.replace("weights[..., None] * dy", "b[:, None, None] * dy"),
                "of its weight",
            ),
        ],
    ),
]
