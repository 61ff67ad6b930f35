"""Reinforcement learning with verifiable rewards: the model samples answers, a function rates them.

Some tasks need no written answers, because a program can tell whether an answer is right.  The
model then learns from its own answers.  A step samples a group of answers to each of some
questions.  An answer that is better than the rest of its group becomes more probable, and one that
is worse becomes less probable (:func:`minillm.ops.policy_loss`).  Where all answers of a group have
the same reward, nothing is learned: the questions have to be neither too easy nor too hard.

    task = RewardTask(model, start, questions, write, reward)
    train(model.params, AdamW(model.params), task, Options(steps=200), rng)

Source: Shao et al. (2024), "DeepSeekMath", section 4.1, with one step for each group.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.types import Backward, Ids
from minillm.training.conversations import BatchesInEpochs, Encoded, packed
from minillm.training.packed import Packed
from minillm.training.task import Task


class RewardTask(Task):
    """A model and questions, as the training loop sees them.

    ``write(questions, rng)`` samples an answer to each question, with the ids that end it, from
    the current model; with rng None it writes the most probable ones.
    ``reward(question, answer)`` rates an answer.  ``reference`` is the model before the training.
    The last tenth of the questions is held out.  ``measures`` has the mean reward of the most
    probable answers to them; the validation loss is minus that.
    """

    def __init__(
        self,
        model: Any,
        reference: Any,
        questions: Sequence[Ids],
        write: Callable[[list[Ids], np.random.Generator | None], list[Ids]],
        reward: Callable[[Ids, Ids], float],
        *,
        questions_at_once: int = 16,
        group: int = 8,
        beta: float = 0.04,
        seed: int = 0,
    ):
        self.model, self.reference = Packed(model), Packed(reference)
        self.write, self.reward = write, reward
        self.group, self.beta = group, beta
        held_out = max(1, len(questions) // 10)
        self.questions, self.held_out = list(questions[:-held_out]), list(questions[-held_out:])
        super().__init__(BatchesInEpochs([1] * len(self.questions), questions_at_once, seed))

    def training_loss(self, rng: np.random.Generator) -> tuple[np.floating, Backward, int]:
        """The loss of groups of new answers, its backward, and the number of tokens."""
        asked = [self.questions[k] for k in self.batches.next() for _ in range(self.group)]
        answers = self.write(asked, rng)
        rewards = np.array([self.reward(*pair) for pair in zip(asked, answers, strict=True)])
        advantages = group_advantages(rewards.reshape(-1, self.group)).ravel()
        texts = [
            Encoded(np.concatenate(pair), np.arange(sum(map(len, pair))) >= len(pair[0]))
            for pair in zip(asked, answers, strict=True)
        ]
        arguments = packed(texts).arguments(None)
        log_p, likelihood_backward = self.model.log_likelihood(*arguments)
        reference, _ = self.reference.log_likelihood(*arguments)
        of_tokens = np.repeat(advantages, [len(answer) for answer in answers]).astype(log_p.dtype)
        loss, loss_backward = ops.policy_loss(log_p, reference, of_tokens, self.beta)

        def backward():
            return likelihood_backward(loss_backward())

        return loss, backward, len(log_p)

    def validation_loss(self) -> float:
        """Minus the mean reward of the most probable answers to the held-out questions."""
        answers = self.write(self.held_out, None)
        pairs = zip(self.held_out, answers, strict=True)
        self.measures = {"reward": float(np.mean([self.reward(*pair) for pair in pairs]))}
        return -self.measures["reward"]


def group_advantages(rewards: NDArray) -> NDArray:
    """The advantage of each answer of a group over the others: rewards (Q, G) -> (Q, G).

    >>> group_advantages(np.array([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]])).tolist()
    [[1.0, -1.0, -1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    deviation = rewards.std(axis=1, keepdims=True)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
