"""Exercises of chapter 24: preferences, rewards and samples."""

from math import comb

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.training.rewards import group_advantages


def _preferences(chosen, rejected):
    zeros = np.zeros_like(chosen)
    loss, backward = ops.preference_loss(chosen, rejected, zeros, zeros, 0.5)
    return np.asarray(loss), lambda dy: backward(float(dy))


def _pairs(rng):
    for P in (1, 4):
        yield "", tuple(2 * rng.standard_normal((2, P)))


@exercise(
    "the loss of preferences, forward and backward",
    level=2,
    minutes=20,
    reference=_preferences,
    solution="minillm/ops/preferences.py: preference_loss",
    cases=_pairs,
    outputs=("loss",),
    gradients=("dchosen", "drejected"),
    hints={
        "loss": (
            "-ln sigmoid(z) = ln(1 + exp(-z)), with z = beta (chosen - rejected).",
            "np.log1p(np.exp(-0.5 * (chosen - rejected))).mean()",
        ),
        "dchosen": (
            "The slope of -ln sigmoid(z) is -sigmoid(-z), and the loss is a mean.",
            "-0.5 sigmoid(-z) / P, times the upstream gradient.",
        ),
        "drejected": (
            "z depends on the difference of the two only.",
            "It is minus dchosen.",
        ),
    },
)
def preference_loss(chosen, rejected):
    """Compute the mean of -ln sigmoid(beta (chosen - rejected)), with beta = 0.5.

    Both (P,) are log-probabilities less those of the reference -> loss, an array without axes.
    ``backward(dloss)`` -> dchosen, drejected (P,).
    """
    loss = ...

    def backward(dloss):
        dchosen = ...
        drejected = ...
        return dchosen, drejected

    return loss, backward


def _groups(rng):
    yield "", (rng.standard_normal((3, 4)),)
    yield "equal", (np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]),)


@exercise(
    "advantages within groups",
    level=1,
    minutes=10,
    reference=group_advantages,
    solution="minillm/training/rewards.py: group_advantages",
    cases=_groups,
    outputs=("advantage",),
    hints={
        "advantage": (
            "Each row is a group: subtract its mean, divide by its standard deviation.",
            "axis=1, keepdims=True, for both.  The deviation is the root of the mean square: "
            "rewards.std divides by G, not by G - 1.",
        ),
        "equal": (
            "Where all rewards of a group are equal, the deviation is 0.",
            "Divide only where it is above 0; else the advantage is 0.",
        ),
    },
)
def advantages(rewards):
    """Say how much better each answer is than its group, in standard deviations of the group.

    rewards (Q, G), a row for each group -> advantage (Q, G).  The standard deviation is the root of
    the mean squared distance from the mean, over the G answers.  In a group whose rewards are all
    equal, every advantage is 0.
    """
    advantage = ...
    return advantage


def _pass_at_k(right, k):
    n, c = right.shape[1], right.sum(axis=1)
    return np.mean([1 - comb(n - int(one), k) / comb(n, k) for one in c])


def _checked(rng):
    yield "one", (rng.random((5, 6)) < 0.4, 1)
    yield "", (rng.random((8, 10)) < 0.3, 4)
    yield "", (np.array([[True, True, False, False], [False] * 4, [True] * 4]), 3)


@exercise(
    "pass@k without a bias",
    level=1,
    minutes=15,
    reference=_pass_at_k,
    solution="minillm/exercises/chapter24.py: _pass_at_k",
    cases=_checked,
    outputs=("share",),
    imports="from math import comb",
    hints={
        "one": (
            "With k = 1, it is the share of all answers that are right.",
            "1 - comb(n - c, 1) / comb(n, 1) = c / n for each question, then the mean.",
        ),
        "share": (
            "Of all subsets of k of the n answers to a question, count those without a right one; "
            "1 - (1 - c / n)^k would let a subset contain an answer twice.",
            "1 - comb(n - c, k) / comb(n, k) for each question, then the mean over the questions.",
        ),
    },
)
def pass_at_k(right, k):
    """Estimate the probability that at least one of k answers to a question is right.

    right (Q, n): which of the n answers to each of Q questions are right; k is at most n -> share:
    the mean over the questions of the unbiased estimate.
    """
    share = ...
    return share


def _dpo_by_numbers(reference, reward, beta, chosen, rejected):
    policy = reference * np.exp(reward / beta)
    policy = policy / policy.sum()
    ratio = np.log(policy / reference)
    margin = beta * (ratio[chosen] - ratio[rejected])
    return policy, margin, -beta / (1 + np.exp(margin))


def _rewarded(rng):
    for V, beta in ((3, 0.5), (5, 2.0)):
        yield "", (rng.dirichlet(np.ones(V)), rng.standard_normal(V), beta, 2, 0)


@exercise(
    "DPO by numbers: the best policy, and the reward that it hides",
    level=3,
    minutes=30,
    reference=_dpo_by_numbers,
    solution="minillm/exercises/chapter24.py: _dpo_by_numbers",
    cases=_rewarded,
    outputs=("policy", "margin", "slope"),
    tolerance=1e-5,
    hints={
        "policy": (
            "Set the derivative of the objective by p(y) to zero, with a multiplier for the sum of "
            "p: ln(p / reference) = reward / beta + a constant.",
            "reference * np.exp(reward / beta), divided by its sum.",
        ),
        "margin": (
            "The constant is the same for both answers, so it cancels.  Compare your margin with "
            "reward[chosen] - reward[rejected].",
            "beta * (np.log(policy / reference)[chosen] - np.log(policy / reference)[rejected]).",
        ),
        "slope": (
            "The loss is -ln sigmoid(margin), and the margin moves by beta for each unit of the "
            "chosen answer's log-probability.",
            "-beta * sigmoid(-margin); or a central difference of -ln sigmoid(margin + beta e).",
        ),
    },
)
def dpo_by_numbers(reference, reward, beta, chosen, rejected):
    """Follow the derivation of DPO for a prompt with V possible answers.

    reference (V,): their probabilities by the first model; reward (V,); beta; two answers' numbers
    -> policy (V,): the p that makes sum p reward - beta sum p ln(p / reference) largest;
    margin: beta times the difference of ln(policy / reference) of chosen and rejected;
    slope: of DPO's loss for this pair, by the log-probability of the chosen answer.
    """
    policy = ...
    margin = ...
    slope = ...
    return policy, margin, slope


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _clipped_objective(log_p, old, advantages, e):
    ratio, A = np.exp(log_p - np.array(old)), np.array(advantages)
    plain, clipped = ratio * A, np.clip(ratio, 1 - e, 1 + e) * A

    def backward(dloss):
        return -dloss * np.where(plain <= clipped, plain, 0) / len(A)

    return -np.minimum(plain, clipped).mean(), backward


def _drawn_tokens(rng):
    for label, shifts, advantages in (
        ("near", [0.05, -0.1], [1.0, -2.0]),
        ("a good one, far", [0.5, -0.5], [1.0, 1.5]),
        ("a bad one, far", [-0.6, 0.7], [-1.0, -2.0]),
        ("", [0.5, -0.7, 0.1, -0.1, 0.6, -0.5], [1.0, -1.0, 2.0, -0.5, -1.5, 0.8]),
    ):
        old = -rng.uniform(0.5, 2, len(shifts))
        yield label, (old + shifts, old.tolist(), advantages, 0.2)


@exercise(
    "PPO: a policy gradient that does not go too far",
    level=2,
    minutes=30,
    reference=_clipped_objective,
    solution="minillm/exercises/chapter24.py: _clipped_objective",
    cases=_drawn_tokens,
    outputs=("loss",),
    gradients=("dlog_p",),
    hints={
        "near": (
            "Where the ratio is near 1, nothing is clipped: the loss is minus the mean of ratio "
            "times advantage.",
            "ratio = np.exp(log_p - old), with the slope ratio with respect to log_p.",
        ),
        "a good one, far": (
            "The smaller of the two products counts.  With an advantage above 0, a ratio above "
            "1 + e gains no more, and a ratio below 1 - e is still to grow.",
            "np.minimum(ratio * A, np.clip(ratio, 1 - e, 1 + e) * A).",
        ),
        "a bad one, far": (
            "With an advantage below 0 the clipped product is the smaller one on the other side: "
            "at ratios below 1 - e.",
            "Compare the products, not the ratios: np.minimum(ratio * A, clipped * A).",
        ),
        "loss": (
            "The mean over the tokens, with a minus: the objective is to grow.",
            "-np.minimum(ratio * A, np.clip(ratio, 1 - e, 1 + e) * A).mean().",
        ),
        "dlog_p": (
            "A token whose clipped product is the smaller one has no gradient: a constant counts "
            "there.  The others have the slope of ratio A, and the loss is minus a mean.",
            "-dloss * np.where(ratio * A <= clipped * A, ratio * A, 0) / n.",
        ),
    },
)
def clipped_objective(log_p, old, advantages, e):
    """Compute minus the mean over n tokens of min(ratio A, clip(ratio, 1 - e, 1 + e) A).

    log_p (n,): the log-probabilities of drawn tokens; old: a list of these at the time when the
    tokens were drawn, ratio = exp(log_p - old); advantages: a list of the A of the tokens; clip
    moves a number to the nearest one of the range -> loss, an array without axes.
    ``backward(dloss)`` -> dlog_p.
    """
    # as many lines as you need
    loss = ...

    def backward(dloss):
        dlog_p = ...
        return dlog_p

    return loss, backward


def _best_of(p, reward, n):
    order = np.argsort(reward)
    below = np.append(0, np.cumsum(p[order])) ** n
    q = np.empty_like(p)
    q[order] = np.diff(below)
    return q, (q * np.log(q / p)).sum()


def _few_answers(rng):
    yield "one draw", (np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 2.0]), 1)
    yield "in order", (np.array([0.5, 0.3, 0.2]), np.array([0.0, 1.0, 2.0]), 4)
    for V, n in ((4, 2), (6, 8)):
        yield "", (rng.dirichlet(np.ones(V)), rng.standard_normal(V), n)


@exercise(
    "the best of n answers",
    level=2,
    minutes=25,
    reference=_best_of,
    solution="minillm/exercises/chapter24.py: _best_of",
    cases=_few_answers,
    outputs=("q", "KL"),
    hints={
        "one draw:q": (
            "The best of one answer is this answer: q = p.",
            "With the answers in the order of their rewards: the sum of p up to and with y, to the "
            "power n, minus the sum below y, to the power n.",
        ),
        "in order:q": (
            "The best of n is y if all n are at most as good as y, and not all of them worse.",
            "np.diff(np.append(0, np.cumsum(p)) ** n), where the rewards rise.",
        ),
        "q": (
            "Not the number of an answer counts but the order of the rewards.",
            "order = np.argsort(reward); cumulate p[order]; then q[order] = what comes out.",
        ),
        "KL": (
            "The mean of ln(q / p) over the answers of q: how far the best of n is from p.",
            "(q * np.log(q / p)).sum().",
        ),
    },
)
def best_of(p, reward, n):
    """Find the distribution of the best of n answers that are drawn independently.

    p (V,): the probability of each of V answers; reward (V,), all different -> q (V,): the
    probability that the answer with the largest reward among n drawn ones is this one; KL: the
    Kullback-Leibler divergence KL(q || p) in nats.
    """
    # as many lines as you need
    q = ...
    KL = ...
    return q, KL


# --- find the bug -------------------------------------------------------------------


def _written(rng):
    for T, V in ((3, 4), (4, 3)):
        (logits,), reference = draw(rng, (T, V)), -rng.random(T)
        yield "", (logits, rng.integers(0, V, T), 1.5, reference.tolist(), 0.3)


@find_the_bug(
    "find the bug: a reward and a pull towards the reference",
    level=3,
    minutes=25,
    cases=_written,
    outputs=("loss",),
    gradients=("dlogits",),
    bugs=(
        Bug(
            "sign",
            "(-advantage + beta * (1 - ratio))",
            "(advantage + beta * (1 - ratio))",
            "With a positive advantage, the loss is to fall as log p grows.",
        ),
        Bug(
            "factor",
            "(-advantage + beta * (1 - ratio))",
            "(-advantage + (1 - ratio))",
            "The pull towards the reference has the factor beta.",
        ),
        Bug(
            "path",
            "beta * (1 - ratio)",
            "beta * (-ratio)",
            "log p occurs twice in the pull: in the exponent, and alone.",
        ),
        Bug(
            "sign",
            "(np.eye(V)[ids] - p)",
            "(p - np.eye(V)[ids])",
            "The gradient of log p[id] with respect to the logits is y - p.",
        ),
    ),
)
def find_reward(logits, ids, advantage, reference, beta):
    """Compute the mean over tokens of -advantage log p + beta (ratio - 1 - log ratio).

    logits (T, V), ids (T,) the tokens of an answer, a number advantage; ratio = exp(reference -
    log p), where reference is a list of T log-probabilities by the first model -> loss.
    ``backward(dloss)`` -> dlogits.
    """
    T, V = logits.shape
    z = logits - logits.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    p, own = np.exp(log_p), log_p[np.arange(T), ids]
    log_ratio = np.array(reference) - own
    ratio = np.exp(log_ratio)
    loss = (-advantage * own + beta * (ratio - 1 - log_ratio)).mean()

    def backward(dloss):
        down = dloss * (-advantage + beta * (1 - ratio)) / T
        return down[:, None] * (np.eye(V)[ids] - p)

    return loss, backward
