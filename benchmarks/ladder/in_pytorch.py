"""The same GPT in PyTorch, whose autograd finds the backward: eagerly, or by torch.compile."""

import torch

from ..pytorch import tensors
from ..torch_models import gpt_loss


def new_step(config, params, inputs, targets, learning_rate, compiled=False):
    """Make a step of Adam on one batch, which returns the loss before it."""
    p, batch = tensors(params), [torch.from_numpy(ids) for ids in (inputs, targets)]
    optimiser = torch.optim.Adam(p.values(), lr=learning_rate, fused=True)
    loss_of = torch.compile(gpt_loss) if compiled else gpt_loss

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(p, config, *batch)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step
