"""Training: the loop, its tasks, optimisers, schedules, checkpoints, ranks."""

from minillm.training.checkpoints import Summary, restore_checkpoint, save_checkpoint
from minillm.training.loop import train
from minillm.training.muon import Muon
from minillm.training.optimisers import (
    OPTIMISERS,
    SGD,
    Adam,
    AdamW,
    Optimiser,
    clip_global_norm,
    new_optimiser,
)
from minillm.training.options import Options
from minillm.training.schedules import SCHEDULES, warmup_cosine
from minillm.training.task import Task

__all__ = [
    "OPTIMISERS",
    "SCHEDULES",
    "SGD",
    "Adam",
    "AdamW",
    "Muon",
    "Optimiser",
    "Options",
    "Summary",
    "Task",
    "clip_global_norm",
    "new_optimiser",
    "restore_checkpoint",
    "save_checkpoint",
    "train",
    "warmup_cosine",
]
