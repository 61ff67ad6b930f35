"""Muon: momentum, made orthogonal.

The gradient of a matrix usually has a low rank.  Its singular value decomposition G = U Sigma V^T
has a few large numbers in Sigma, so a step along G goes far in a few directions, and hardly moves
in all others, which may be as useful.  Muon takes an equal step in all directions:

    v = momentum v + (1 - momentum) g
    u = momentum v + (1 - momentum) g           as if one step ahead (Nesterov)
    O = U V^T, where u = U Sigma V^T
    W = (1 - learning_rate weight_decay) W - 0.2 sqrt(max(I, O)) learning_rate O

Of all matrices whose singular values are at most 1, U V^T has the largest product with u: it is the
steepest step if the length of a step is the largest factor by which it can stretch a vector.

**Newton-Schulz.**  U V^T without a decomposition, by products alone.  Take an odd polynomial of a
matrix X = U Sigma V^T.  V^T V and U^T U are identities, so X X^T X = U Sigma^3 V^T, and so on:

    a X + b (X X^T) X + c (X X^T)^2 X = U (a Sigma + b Sigma^3 + c Sigma^5) V^T

So the polynomial p(s) = a s + b s^3 + c s^5 acts on each singular value, and leaves U and V as they
are.  X = u / |u| has singular values between 0 and 1, because |u|^2, the sum of the squares of all
numbers of u, is the sum of s^2.  Applying p repeatedly, p(p(... p(s))), should bring all of them to
1.  With p(1) = 1 and p'(1) = p''(1) = 0, which (15, -10, 3) / 8 has, it gets there exactly, but
small s grow by 15/8 only each time.  The numbers here grow them by 3.44, and 3.44^5 is 485.  The
price is that p does not converge: after 5 times, each s from 0.002 up is between 0.68 and 1.21.
For a step, that is as good as 1.

With A = X X^T, a round is X <- P X, where P = a I + b A + c A^2 is symmetric.  The next A is
P X X^T P = P A P.  So all rounds but the first and the last product need no matrix larger than A:

    A_1 = X X^T        P_k = a I + b A_k + c A_k^2        A_{k+1} = P_k A_k P_k
    O = P_5 P_4 P_3 P_2 P_1 X

**Size of a step.**  U V^T with I < O has I singular values of 1, so the mean of its squares is
I / (I O) = 1 / max(I, O).  Those of a step of Adam are about 0.2 in practice.  With the factor
0.2 sqrt(max(I, O)), a learning rate and a weight decay mean the same for both.

Muon is for matrices that map vectors to vectors.  A table of embeddings has a row for each token.
Few of them occur in a batch, and a step should not mix them.  The same holds for an output layer,
and for numbers that belong to single columns, such as the kernels of Mamba's convolution.  They,
gains and biases are therefore left to AdamW.

Sources: Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein (2024), "Muon: an optimizer for
hidden layers in neural networks"; Liu et al. (2025), "Muon is scalable for LLM training", section
2.2, for the size of a step and the weight decay; Bernstein and Newhouse (2024), "Old optimizer, new
norm", for the steepest step.
"""

import math
import re

import numpy as np

from minillm import checks
from minillm.ops.linear import matmul
from minillm.training.layout import Arrays, Layout
from minillm.training.optimisers import AdamW, Optimiser, optimiser

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # a, b, c
ITERATIONS = 5
LIKE_ADAM = 0.2  # the root of the mean square of a step, for a learning rate of 1
_NOT_HIDDEN = re.compile(r"\.E$|^output\.|\.convolution\.W$|\.A_log$")


def is_hidden(name: str, shape: tuple[int, ...]) -> bool:
    """Whether Muon updates this weight: a matrix that maps one hidden vector to another."""
    return len(shape) == 2 and not _NOT_HIDDEN.search(name)


def orthogonal(u: np.ndarray) -> np.ndarray:
    """U (about 1) V^T for u = U Sigma V^T: (I, O) -> (I, O); zeros for zeros."""
    X = u if u.shape[0] <= u.shape[1] else u.T
    X = X / (np.abs(X).max(initial=0) or 1)  # otherwise squares of 1e-24 would be 0
    X = X / (math.sqrt((X**2).sum()) or 1.0)
    A = matmul(X, X.T)
    Q = P = _polynomial(A)
    for _ in range(ITERATIONS - 1):
        A = matmul(matmul(P, A), P)
        P = _polynomial(A)
        Q = matmul(P, Q)
    X = matmul(Q, X)
    return X if u.shape[0] <= u.shape[1] else X.T


def _polynomial(A: np.ndarray) -> np.ndarray:
    a, b, c = COEFFICIENTS
    return a * np.eye(len(A), dtype=A.dtype) + b * A + c * matmul(A, A)


@optimiser
class Muon(Optimiser):
    """Muon for the matrices between embeddings and output, AdamW for all other weights."""

    def __init__(
        self,
        params: Arrays,
        momentum: float = 0.95,
        beta2: float = 0.999,
        weight_decay: float = 0.01,
    ):
        self.momentum = checks.below_one("Muon", "momentum", momentum)
        super().__init__(params)
        self.weight_decay = weight_decay
        self.hidden = Layout({name: p for name, p in params.items() if is_hidden(name, p.shape)})
        self.v = self.hidden.zeros()
        self.rest = AdamW(self._rest_of(params), beta2=beta2, weight_decay=weight_decay)

    def step(self, grads: Arrays, learning_rate: float) -> None:
        """Take a step: see the equations."""
        super().step(grads, learning_rate)
        self.hidden.check("v", self.v)
        self.rest.params = self._rest_of(self.params)
        self.rest.step(self._rest_of(grads), learning_rate)
        for name, v in self.v.items():
            p, g = self.params[name], grads[name]
            v += (1 - self.momentum) * (g - v)
            update = orthogonal(v + (1 - self.momentum) * (g - v))
            p *= 1 - learning_rate * self.weight_decay
            p -= LIKE_ADAM * math.sqrt(max(p.shape)) * learning_rate * update

    def _rest_of(self, arrays: Arrays) -> dict[str, np.ndarray]:
        return {name: array for name, array in arrays.items() if name not in self.v}

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """The velocities, and AdamW's moments and number of steps."""
        arrays, values = self.rest.state()
        return {f"v.{name}": v for name, v in self.v.items()} | arrays, values

    def restore(self, arrays: Arrays, values: dict) -> None:
        """Restore a result of :meth:`state`."""
        v = self.hidden.copies(arrays, "v")
        self.rest.restore(arrays, values)
        self.v.update(v)
