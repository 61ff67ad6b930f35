"""The differentiable functions: each returns its output and its backward."""

from minillm.ops.activations import relu, sigmoid, silu, tanh
from minillm.ops.add_norm import add_norm
from minillm.ops.additive_attention import additive_attention
from minillm.ops.attention_flow import attention_flow
from minillm.ops.convolution import convolution
from minillm.ops.cross_entropy import cross_entropy
from minillm.ops.dropout import dropout
from minillm.ops.embedding import embedding
from minillm.ops.gelu import gelu
from minillm.ops.gru import gru, gru_step
from minillm.ops.layer_norm import layer_norm
from minillm.ops.linear import linear
from minillm.ops.lstm import lstm, lstm_step
from minillm.ops.mixup import mixup
from minillm.ops.multiplicative_attention import multiplicative_attention
from minillm.ops.pooling import max_pool, mean_pool
from minillm.ops.recurrence import reverse
from minillm.ops.rms_norm import rms_norm
from minillm.ops.rnn import rnn, rnn_step
from minillm.ops.rotary import rotary
from minillm.ops.scaled_dot_product_attention import scaled_dot_product_attention
from minillm.ops.softmax import softmax

__all__ = [
    "add_norm",
    "additive_attention",
    "attention_flow",
    "convolution",
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
    "mixup",
    "multiplicative_attention",
    "relu",
    "reverse",
    "rms_norm",
    "rnn",
    "rnn_step",
    "rotary",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "tanh",
]
