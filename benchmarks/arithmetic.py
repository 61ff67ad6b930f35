"""Rewards for a model that half masters a task: sums of two numbers of two digits.

    python -m benchmarks.arithmetic [--seeds 3] [--steps 150]

A small Llama from random weights learns sums such as 07+45=52 from right answers, until it has half
of them right.  From there, it goes on in two ways for an equal time of the processor: with rewards,
where it samples answers and learns which are right (:mod:`minillm.training.rewards`), and with
right answers as before.  A tenth of the 10,000 sums is held out.  A table has the share of them
that the most probable answer has right, for each seed, and in brackets the share that at least one
of 16 sampled answers has right (pass@16).
"""

from copy import deepcopy
from time import process_time

import numpy as np
from numpy.typing import NDArray

from benchmarks import command
from minillm.decoding import Reader
from minillm.models.llama import Llama, LlamaConfig
from minillm.training import AdamW, clip_global_norm
from minillm.training.conversations import Encoded, packed
from minillm.training.packed import Packed
from minillm.training.rewards import RewardTask

SIGNS = "0123456789+=\n"
ANSWER = 4  # signs of the longest answer, with the line's end
DRAWS = 16  # of pass@16
END = SIGNS.index("\n")


def ids_of(text: str) -> NDArray[np.int64]:
    """The ids of a text."""
    return np.array([SIGNS.index(sign) for sign in text])


def text_of(ids: NDArray) -> str:
    """The text of ids."""
    return "".join(SIGNS[id] for id in ids)


def reward(question: NDArray, answer: NDArray) -> float:
    """1 for the right sum, with the line's end after it; else 0."""
    first, second = text_of(question).rstrip("=").split("+")
    return float(text_of(answer) == f"{int(first) + int(second)}\n")


class Writer:
    """Draws answers to questions of equal length, all at once."""

    def __init__(self, model: Llama):
        self.reader = Reader(model)

    def __call__(
        self, questions: list[NDArray], rng: np.random.Generator | None
    ) -> list[NDArray[np.int64]]:
        """Draw an answer to each question; with rng None, write the most probable one."""
        ids, state = np.stack(questions), self.reader.zero_state(len(questions))
        columns = []
        for _ in range(ANSWER):
            logits, state = self.reader.read(ids, state)
            if rng is not None:
                logits = logits + rng.gumbel(size=logits.shape)
            ids = logits.argmax(axis=1)[:, None]
            columns.append(ids)
        rows = np.concatenate(columns, axis=1)
        return [row[: 1 + np.append(np.flatnonzero(row == END), ANSWER - 1)[0]] for row in rows]


def supervised(model: Llama, optimiser: AdamW, questions: list, rng, rate: float) -> None:
    """Take a step on right answers to 128 questions."""
    some = []
    for k in rng.integers(0, len(questions), 128):
        first, second = text_of(questions[k]).rstrip("=").split("+")
        answer = ids_of(f"{int(first) + int(second)}\n")
        ids = np.concatenate([questions[k], answer])
        some.append(Encoded(ids, np.arange(len(ids)) >= len(questions[k])))
    _, backward = Packed(model).loss(*packed(some).arguments(None))
    stepped(optimiser, backward(), rate)


def stepped(optimiser: AdamW, gradients: dict, rate: float) -> None:
    """Clip the gradients, and take a step."""
    clip_global_norm(gradients, 1.0)
    optimiser.step(gradients, rate)


def one_seed(seed: int, steps: int) -> tuple[int, list[tuple[float, float]]]:
    """The steps before the start, and shares of right sums: of the best answer, of one of 16.

    These are at the start, with rewards, and with more right answers.
    """
    rng = np.random.default_rng(seed)
    questions = [ids_of(f"{a:02}+{b:02}=") for a in range(100) for b in range(100)]
    rng.shuffle(questions)
    training, held_out = questions[:9000], questions[9000:]
    config = LlamaConfig(len(SIGNS), context=12, layers=2, heads=4, width=64)
    model = Llama(config, rng)
    optimiser = AdamW(model.params)

    def right(some: Llama, questions: list = held_out) -> float:
        answers = Writer(some)(questions, None)
        return float(np.mean([reward(q, a) for q, a in zip(questions, answers, strict=True)]))

    def both(some: Llama) -> tuple[float, float]:
        asked = [question for question in held_out for _ in range(DRAWS)]
        answers = Writer(some)(asked, np.random.default_rng(seed))
        rewards = [reward(q, a) for q, a in zip(asked, answers, strict=True)]
        return right(some), float(np.reshape(rewards, (-1, DRAWS)).max(axis=1).mean())

    first_steps = 0
    while right(model, training[:500]) < 0.5:
        for _ in range(25):
            supervised(model, optimiser, training, rng, 2e-3)
        first_steps += 25
    shares = [both(model)]
    begin = deepcopy(model)

    task = RewardTask(
        model, begin, training, Writer(model), reward, questions_at_once=32, group=16, seed=seed
    )
    optimiser = AdamW(model.params, weight_decay=0.0)
    started = process_time()
    for _ in range(steps):
        _, backward, _ = task.training_loss(rng)
        stepped(optimiser, backward(), 3e-4)
    seconds = process_time() - started
    shares.append(both(model))

    other = deepcopy(begin)
    optimiser = AdamW(other.params)
    started = process_time()
    while process_time() - started < seconds:
        supervised(other, optimiser, training, rng, 1e-3)
    return first_steps, [*shares, both(other)]


def main() -> None:
    options = command.parser(__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--steps", type=int, default=150, help="steps with rewards")
    args = options.parse_args()
    print("seed   steps           start         rewards   right answers, equal time")
    for seed in range(args.seeds):
        before, shares = one_seed(seed, args.steps)
        cells = "".join(f"   {best:5.1%} ({one_of:5.1%})" for best, one_of in shares)
        print(f"{seed:4} {before:7,}{cells}", flush=True)


if __name__ == "__main__":
    main()
