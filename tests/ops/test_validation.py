"""Bad arguments get one clear line before any kernel runs."""

import numpy as np
import pytest

from minillm import ops

x = np.ones((2, 3, 4), np.float32)
h0 = np.zeros((2, 5), np.float32)
W_x, W_h, b = (np.ones(s, np.float32) for s in ((4, 20), (5, 20), (20,)))
ids = np.array([[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: ops.linear(x, np.ones((3, 5), np.float32), np.ones(5, np.float32)),
            ValueError,
            r"linear: W has shape \(3, 5\), expected \(I = 4, O = 5\)",
        ),
        (
            lambda: ops.linear(x, np.ones((4, 5)), np.ones(5, np.float32)),
            TypeError,
            "linear: W is float64 but x is float32; use one dtype",
        ),
        (
            lambda: ops.lstm(x, h0, h0, W_x, W_h[:, :19], b),
            ValueError,
            r"lstm: W_h has shape \(5, 19\), expected \(H = 5, 4H = 20\)",
        ),
        (
            lambda: ops.lstm(x, h0, h0[:1], W_x, W_h, b),
            ValueError,
            r"lstm: c0 has shape \(1, 5\), expected \(B = 2, H = 5\)",
        ),
        (lambda: ops.tanh([1.0, 2.0]), TypeError, "tanh: x must be a NumPy array, found list"),
        (
            lambda: ops.relu(np.arange(3)),
            TypeError,
            "relu: x must be float32 or float64, found int64",
        ),
        (
            lambda: ops.lstm(x, h0, h0, W_x, W_h, b, lengths=np.array([1, 4])),
            ValueError,
            r"lstm: lengths must lie in 0\.\.3, found 1\.\.4",
        ),
        (
            lambda: ops.lstm(x, h0, h0, W_x, W_h, b, lengths=np.array([1, 2, 3])),
            ValueError,
            r"lstm: lengths has shape \(3,\), expected \(2,\)",
        ),
        (
            lambda: ops.lstm(x, h0, h0, W_x, W_h, b, lengths=np.array([1.0, 2.0])),
            TypeError,
            "lstm: lengths must be an integer NumPy array, found float64",
        ),
        (
            lambda: ops.embedding(ids, np.ones((3, 4))),
            ValueError,
            r"embedding: ids must lie in 0\.\.2, found 0\.\.3",
        ),
        (
            lambda: ops.embedding(ids - 1, np.ones((3, 4))),
            ValueError,
            r"embedding: ids must lie in 0\.\.2, found -1\.\.2",
        ),
        (
            lambda: ops.cross_entropy(np.ones((2, 2, 3)), ids),
            ValueError,
            r"cross_entropy: targets must lie in 0\.\.2, found 0\.\.3",
        ),
        (
            lambda: ops.cross_entropy(np.ones((2, 5)), ids),
            ValueError,
            r"cross_entropy: targets has shape \(2, 2\), expected \(2,\)",
        ),
        (
            lambda: ops.cross_entropy(np.ones((2, 2, 4)), ids, np.zeros((2, 2), bool)),
            ValueError,
            "mask is False everywhere",
        ),
        (
            lambda: ops.cross_entropy(np.ones((2, 2, 4)), ids, np.ones((2, 2))),
            TypeError,
            "mask must be a bool NumPy array, found float64",
        ),
        (
            lambda: ops.dropout(x, 1.0, np.random.default_rng(0)),
            ValueError,
            r"dropout: rate must lie in \[0, 1\), found 1.0",
        ),
        (
            lambda: ops.layer_norm(x, np.ones(4, np.float32), np.ones(4, np.float32), eps=0),
            ValueError,
            "eps must be positive",
        ),
        (
            lambda: ops.rnn(x[:, :0], h0, W_x[:, :5], W_h[:, :5], b[:5]),
            ValueError,
            r"rnn: x has shape \(2, 0, 4\)",
        ),
        (
            lambda: ops.lstm_step(x[:, 0], h0, h0, W_x, W_h, b[:5]),
            ValueError,
            r"lstm_step: b has shape \(5,\), expected \(4H = 20\)",
        ),
        (
            lambda: ops.gru(x, h0, W_x[:, :15], W_h[:, :15], b[:15], b[:15])[1](x),
            ValueError,
            r"gru: dhs has shape \(2, 3, 4\), expected \(2, 3, 5\)",
        ),
    ],
)
def test_the_message_names_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
