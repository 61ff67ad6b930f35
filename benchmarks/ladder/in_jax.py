"""The same GPT in JAX: jax.grad finds the backward, and XLA compiles the whole step at once.

The old weights and moments are given away ("donated"), so the new ones take their memory.
"""

import jax
import jax.numpy as jnp

from .in_numpy import BETA1, BETA2, EPS, TINY


def new_step(config, params, inputs, targets, learning_rate):
    """Make a step of Adam on one batch, which returns the loss before it."""

    def loss_of(p):
        x = p["embedding.E"][inputs] + p["positions.E"]
        for layer in range(config.layers):
            x = block(p, f"blocks.{layer}", x, config.heads)
        logits = layer_norm(p, "norm", x) @ p["embedding.E"].T
        of_targets = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)
        return -of_targets.mean()

    def new_state(state):
        p, m, v, t = state
        loss, g = jax.value_and_grad(loss_of)(p)
        t = t + 1
        m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
        size, correction = learning_rate / (1 - BETA1**t), 1 / (1 - BETA2**t)
        p = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v * correction) + TINY), p, m, v)
        return loss, (p, m, v, t)

    compiled = jax.jit(new_state, donate_argnums=0)
    # Copies: a donated array must not be NumPy's.
    p, m, v = ({name: jnp.array(f * a) for name, a in params.items()} for f in (1, 0, 0))
    state = p, m, v, jnp.zeros((), jnp.float32)

    def step():
        nonlocal state
        loss, state = compiled(state)
        return float(loss)

    return step


def block(p, name, x, heads):
    def linear(suffix, x):
        return x @ p[f"{name}.{suffix.replace('*', 'W')}"] + p[f"{name}.{suffix.replace('*', 'b')}"]

    qkv = linear("attention.*_qkv", layer_norm(p, f"{name}.norm_1", x))
    B, T, _ = qkv.shape
    q, k, v = jnp.moveaxis(qkv.reshape(B, T, 3, heads, -1), 2, 0)
    h = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
    x = x + linear("attention.*_o", h)
    h = jax.nn.gelu(linear("feed_forward.*_1", layer_norm(p, f"{name}.norm_2", x)))
    return x + linear("feed_forward.*_2", h)


def layer_norm(p, name, x):
    centred = x - x.mean(axis=-1, keepdims=True)
    x_hat = centred * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + EPS)
    return p[f"{name}.gain"] * x_hat + p[f"{name}.bias"]
