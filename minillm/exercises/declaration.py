"""An exercise: a function with a hole, a reference to compare with, cases, and hints."""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Draws cases: pairs of a label and the arguments.  A label is a key of the hints.
Cases = Callable[[np.random.Generator], Iterator[tuple[str, tuple]]]


# The kinds of faults in a function, such as a backward pass.
FAULTS = {
    "sign": "a sign is wrong",
    "factor": "a slope, a scale or another factor is wrong, missing, or one too many",
    "path": "one of several uses or terms is forgotten",
    "axis": "a sum runs over the wrong axis",
    "order": "arrays or parts of an array are exchanged, or not transposed",
    "value": "the formula is right, but it reads another array or number",
    "mask": "padding, or what does not occur or was dropped, counts",
    "range": "a range, a border or an index is off by one",
}


@dataclass(frozen=True)
class Bug:
    """A change of one line of a right function: of the text ``right``, which occurs once."""

    fault: str  # a key of FAULTS
    right: str
    wrong: str
    hint: str
    lead: str = ""  # the first hint, where no wrong gradient leads to the line


def draw(rng: np.random.Generator, *shapes: int | tuple[int, ...]) -> tuple[NDArray, ...]:
    """Arguments of a case: an array of each shape."""
    return tuple(rng.standard_normal(shape) for shape in shapes)


@dataclass(frozen=True)
class Exercise:
    """One exercise: a function with a hole, or one with a wrong line, a variant for each bug.

    ``reference`` takes the arguments of the hole's function.  If ``gradients`` has names, both
    return ``output(s), backward``, and ``backward(*upstream)`` returns one gradient for each name.
    ``outputs`` names the outputs, ``gates`` the equal parts of the last axis of a gradient whose
    name is in ``gated``; ``time`` says which axis of an output or a gradient counts time steps.
    ``hints`` has two lines for a key: a first hint, and a second that says more.  A key is

    - the name of an output, or of a gradient: "dW";
    - a gradient and one of its gates, where at most two gates are wrong: "dW_x:f";
    - "all", where every coordinate of every gradient is wrong: they share a cause;
    - a gradient that is wrong while all others are right: "dW_x:only";
    - a gradient that is right at the last time step only: "dx:earlier";
    - "zero", where every gradient is zero;
    - an output or a gradient of a wrong shape: "db:shape";
    - the label of a case, for what is wrong in this case only: "lengths"; or "lengths:y", for one
      output;
    - "forward:order" and "backward:order", for more multiplications than ``multiplications``.

    With ``bugs``, one for each variant, the function is right except for one line.  The reader
    mends it and names the kind of fault.

    ``multiplications`` takes the arguments and returns how many multiplications the products of
    matrices in the forward pass and in the backward pass may take.
    """

    name: str
    chapter: int
    title: str
    level: int  # 1 to 3
    minutes: int
    reference: Callable
    solution: str  # the place in the package: "minillm/ops/linear.py: linear"
    cases: Cases
    source: str  # the function with its hole
    imports: str = ""
    outputs: tuple[str, ...] = ("y",)
    gradients: tuple[str, ...] = ()
    gates: str = ""
    gated: tuple[str, ...] = ()
    time: dict[str, int] = field(default_factory=dict)
    hints: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tolerance: float = 1e-6
    multiplications: Callable[..., tuple[int, int]] | None = None
    function: str = ""  # the name of the hole's function
    bugs: tuple[Bug, ...] = ()
    variant: int = 0
    right: str = ""  # the source without a bug

    @property
    def stars(self) -> str:
        """The level: *, ** or ***."""
        return "*" * self.level

    @property
    def file(self) -> str:
        """The name of the reader's file."""
        return f"{self.name.replace('-', '_')}.py"

    @property
    def statement(self) -> str:
        """The function's first line, and its docstring with the shapes."""
        end = self.source.index('"""', self.source.index('"""') + 3) + 3
        return self.source[:end]

    @property
    def task(self) -> str:
        """The task, as the file states it."""
        if self.bugs:
            where = " of the backward pass" if self.gradients else ""
            return f"One line{where} is wrong.\nMend it, name the fault,"
        return "Replace each ..."

    @property
    def hole(self) -> str:
        """The text that the reader receives: the function with its hole, below its imports."""
        imports = f"{self.imports}\n" if self.imports else ""
        fault = ""
        if self.bugs:
            kinds = "\n".join(f"#   {name:8}{text}" for name, text in FAULTS.items())
            fault = f'\n# The kind of the fault, such as "sign":\n#\n{kinds}\nFAULT = ...\n'
        return f"import numpy as np\n{imports}{fault}\n\n{self.source}"

    def with_bug(self, variant: int) -> "Exercise":
        """The exercise with another bug, and the hints of this bug."""
        bug = self.bugs[variant]
        was = bug.wrong.strip() or "left out"
        of_outputs: tuple[str, ...] = (
            "The forward pass was right: one line of the backward pass is wrong.",
        )
        shared = (
            "The wrong line is one that every wrong gradient needs, and no right one.  If all are "
            "wrong, begin with the line that all of them need."
        )
        if not self.gradients:
            of_outputs = (bug.lead, bug.hint)
        hints: dict[str, tuple[str, ...]] = dict.fromkeys(self.outputs, of_outputs)
        hints |= dict.fromkeys(self.gradients, (shared, bug.hint))
        return replace(
            self,
            variant=variant,
            source=self.right.replace(bug.right, bug.wrong),
            hints=hints,
            solution=f"{bug.right.strip()} was {was}; the fault: {bug.fault}",
        )


EXERCISES: dict[str, Exercise] = {}


def exercise(title: str, **options: Any) -> Callable[[Callable], Callable]:
    """Register the decorated function as the hole of an exercise.

    Its source, without the decorator, is the text for the reader.  The name is the function's name
    with hyphens, unless it is given; the chapter is the number in the module's name.  With
    ``blanks``, the function is whole: each of these texts, which occurs once, becomes a hole.  One
    function can be two exercises, if ``function`` is its name in the reader's file.
    """

    def register(hole: Callable) -> Callable:
        source = textwrap.dedent(inspect.getsource(hole))
        function = options.pop("function", hole.__name__)
        source = f"def {function}" + source.partition(f"def {hole.__name__}")[2]
        for blank in options.pop("blanks", ()):
            source = source.replace(blank, "...")
        name = options.pop("name", function.replace("_", "-"))
        chapter = int(hole.__module__[-2:])
        if name in EXERCISES:
            raise ValueError(f"exercise {name}: expected one function of this name, found two")
        EXERCISES[name] = Exercise(
            name=name,
            chapter=chapter,
            title=title,
            source=source,
            function=function,
            **options,
        )
        return hole

    return register


def find_the_bug(
    title: str, bugs: tuple[Bug, ...], **options: Any
) -> Callable[[Callable], Callable]:
    """Register the decorated function, which is right, as an exercise with a wrong line."""

    def register(right: Callable) -> Callable:
        exercise(title, reference=right, solution="", bugs=bugs, **options)(right)
        name, entry = EXERCISES.popitem()
        EXERCISES[name] = replace(entry, right=entry.source).with_bug(0)
        return right

    return register
