"""The differentiable functions: each returns its output and its backward."""

from minillm.ops.activations import gelu, relu, sigmoid, softmax, tanh
from minillm.ops.attention import (
    additive_attention,
    multiplicative_attention,
    scaled_dot_product_attention,
)
from minillm.ops.dropout import dropout
from minillm.ops.embedding import embedding
from minillm.ops.linear import linear
from minillm.ops.losses import cross_entropy
from minillm.ops.normalisation import layer_norm
from minillm.ops.pooling import max_pool, mean_pool
from minillm.ops.recurrent import gru, gru_step, lstm, lstm_step, reverse, rnn, rnn_step

__all__ = [
    "additive_attention",
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "gru",
    "gru_step",
    "layer_norm",
    "linear",
    "lstm",
    "lstm_step",
    "max_pool",
    "mean_pool",
    "multiplicative_attention",
    "relu",
    "reverse",
    "rnn",
    "rnn_step",
    "scaled_dot_product_attention",
    "sigmoid",
    "softmax",
    "tanh",
]
