"""The differentiable functions: each returns its output and its backward.

An op declares its arguments (:mod:`minillm.checks`), and raises TypeError or ValueError where
dtypes, shapes, ids, lengths or numbers are not as declared.  Its backward checks its upstream
gradients in the same way; where there are several, None stands for zeros.
"""

from minillm.ops.activations import gelu as gelu
from minillm.ops.activations import relu as relu
from minillm.ops.activations import sigmoid as sigmoid
from minillm.ops.activations import silu as silu
from minillm.ops.activations import softplus as softplus
from minillm.ops.activations import swiglu as swiglu
from minillm.ops.activations import tanh as tanh
from minillm.ops.attention import additive_attention as additive_attention
from minillm.ops.attention import biased_attention as biased_attention
from minillm.ops.attention import multiplicative_attention as multiplicative_attention
from minillm.ops.attention_flow import attention_flow as attention_flow
from minillm.ops.causal_convolution import causal_convolution as causal_convolution
from minillm.ops.cross_entropy import cross_entropy as cross_entropy
from minillm.ops.cross_entropy import log_likelihood as log_likelihood
from minillm.ops.dropout import dropout as dropout
from minillm.ops.embedding import embedding as embedding
from minillm.ops.gated_delta_rule import gated_delta_rule as gated_delta_rule
from minillm.ops.gru import gru as gru
from minillm.ops.gru import gru_step as gru_step
from minillm.ops.linear import linear as linear
from minillm.ops.linear_recurrence import linear_recurrence as linear_recurrence
from minillm.ops.lstm import lstm as lstm
from minillm.ops.lstm import lstm_step as lstm_step
from minillm.ops.mask import Mask as Mask
from minillm.ops.minimal import min_gru as min_gru
from minillm.ops.minimal import min_gru_step as min_gru_step
from minillm.ops.minimal import min_lstm as min_lstm
from minillm.ops.minimal import min_lstm_step as min_lstm_step
from minillm.ops.norms import layer_norm as layer_norm
from minillm.ops.norms import rms_norm as rms_norm
from minillm.ops.padding import max_pool as max_pool
from minillm.ops.padding import mean_pool as mean_pool
from minillm.ops.pointer import copied_probability as copied_probability
from minillm.ops.pointer import coverage as coverage
from minillm.ops.pointer import pointer_cross_entropy as pointer_cross_entropy
from minillm.ops.preferences import policy_loss as policy_loss
from minillm.ops.preferences import preference_loss as preference_loss
from minillm.ops.recurrence import reverse as reverse
from minillm.ops.rnn import rnn as rnn
from minillm.ops.rnn import rnn_step as rnn_step
from minillm.ops.rotary import rotary as rotary
from minillm.ops.scaled_dot_product_attention import (
    scaled_dot_product_attention as scaled_dot_product_attention,
)
from minillm.ops.selective_scan import selective_scan as selective_scan
from minillm.ops.softmax import softmax as softmax
