"""One change of one file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    path: Path  # from the root of the project
    source: str  # the whole file, unchanged
    begin: int  # source[begin:end] becomes new
    end: int
    new: str
    what: str

    @property
    def text(self) -> str:
        """The whole file, changed."""
        return self.source[: self.begin] + self.new + self.source[self.end :]

    @property
    def line(self) -> int:
        return self.source.count("\n", 0, self.begin) + 1

    @property
    def key(self) -> str:
        """A digest that is the same for the same change of the same source, on any machine."""
        change = f"{self.path}\0{self.begin}\0{self.end}\0{self.new}\0{self.source}"
        return hashlib.sha256(change.encode()).hexdigest()[:20]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {self.what}"
