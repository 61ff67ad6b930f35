"""Training: optimisers, schedules, the loop, what a checkpoint holds."""

from minillm.training.checkpoints import Store, restore_checkpoint, save_checkpoint
from minillm.training.loop import (
    Options,
    Summary,
    Task,
    train,
)
from minillm.training.optimisers import SGD, Adam, AdamW, Optimiser, clip_global_norm
from minillm.training.schedules import warmup_cosine

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimiser",
    "Options",
    "Store",
    "Summary",
    "Task",
    "clip_global_norm",
    "restore_checkpoint",
    "save_checkpoint",
    "train",
    "warmup_cosine",
]
