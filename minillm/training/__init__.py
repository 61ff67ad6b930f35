"""Training: optimisers, schedules, the loop, checkpoints."""

from minillm.training.checkpoints import RunFolder
from minillm.training.loop import (
    Options,
    Summary,
    Task,
    restore_checkpoint,
    save_checkpoint,
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
    "RunFolder",
    "Summary",
    "Task",
    "clip_global_norm",
    "restore_checkpoint",
    "save_checkpoint",
    "train",
    "warmup_cosine",
]
