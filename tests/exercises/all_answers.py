"""The answers of all chapters."""

import importlib
from pathlib import Path

from .answers import Answer

ANSWERS: list[Answer] = [
    answer
    for file in sorted(Path(__file__).parent.glob("chapter*.py"))
    for answer in importlib.import_module(f".{file.stem}", __package__).ANSWERS
]
