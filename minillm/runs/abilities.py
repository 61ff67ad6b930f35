"""The abilities of the runs of a kind, one protocol each.

A kind has an ability if it defines the method.  Each method receives the run, then the arguments of
the method of the same name of :class:`minillm.runs.run.Run`, which describes it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from minillm.data.windows import Ids
from minillm.decoding import Sampling, Translation
from minillm.decoding.summaries import Length
from minillm.errors import InputError
from minillm.formats.format import Contents
from minillm.look.inside import Copying, Inside
from minillm.models.vectors import Vectors
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Job

if TYPE_CHECKING:
    from minillm.runs.run import Answered, Classified, Run
    from minillm.training.dynamic_evaluation import Adapted


@runtime_checkable
class Writes(Protocol):
    """Continue a text."""

    def write(
        self, run: "Run", prompt: str, length: int, sampling: Sampling, stop: Sequence[str]
    ) -> Iterator[str]: ...


@runtime_checkable
class Adapts(Protocol):
    """Learn a text while it is read."""

    def adapted(self, run: "Run", ids: Ids) -> "Adapted": ...


@runtime_checkable
class Translates(Protocol):
    """Turn one sequence into another."""

    def hypotheses(
        self, run: "Run", texts: Sequence[str], **options: Any
    ) -> list[list[Translation]]: ...


@runtime_checkable
class Summarises(Protocol):
    """Write a short text that says what a longer one says."""

    def summaries(
        self,
        run: "Run",
        texts: Sequence[str],
        places: Sequence[str],
        length: Length,
        report: Callable[[str], None],
        **search: Any,
    ) -> Iterator[str | InputError]: ...


@runtime_checkable
class Attends(Protocol):
    """Show the attention weights between the tokens of a text."""

    def attention(
        self, run: "Run", text: str, layer: int, head: int
    ) -> tuple[NDArray, list[str]]: ...


@runtime_checkable
class AttendsToSource(Protocol):
    """Show the attention weights from the tokens of an output to its source's tokens."""

    def cross_attention(
        self, run: "Run", text: str, ids: Sequence[int], layer: int | None, head: int | None
    ) -> NDArray: ...


@runtime_checkable
class Copies(Protocol):
    """Tell the tokens of an output that are copied from its source."""

    def copying(self, run: "Run", text: str, ids: Sequence[int]) -> Copying: ...


@runtime_checkable
class Looks(Protocol):
    """Show what the model does with a text; a translator also takes a ``target``."""

    def look(self, run: "Run", text: str, **options: Any) -> Inside: ...


@runtime_checkable
class Compares(Protocol):
    """Show next to a look the predictions of a simple model; None if there is none."""

    def look_beside(self, run: "Run", text: str) -> Inside | None: ...


@runtime_checkable
class Traces(Protocol):
    """Add to a look the passages of the text that occur in the training text."""

    def with_sources(self, run: "Run", text: str, inside: Inside) -> Inside: ...


@runtime_checkable
class Classifies(Protocol):
    """Choose a label for each text or image."""

    def classify(
        self, run: "Run", items: Sequence[Any], places: Sequence[str] | None
    ) -> "list[Classified]": ...


@runtime_checkable
class Answers(Protocol):
    """Find the answers to questions in a text."""

    def answers(
        self, run: "Run", questions: Sequence[str], context: str, number: int
    ) -> "list[list[Answered]]": ...


@runtime_checkable
class HasVectors(Protocol):
    """A vector for each word."""

    def vectors(self, run: "Run") -> Vectors: ...


@runtime_checkable
class Fills(Protocol):
    """Fill in masked tokens."""

    def fill(self, run: "Run", text: str, top: int) -> list[list[tuple[str, float]]]: ...


@runtime_checkable
class Embeds(Protocol):
    """A vector for each text, which may be given as its ids (T,)."""

    def embed(self, run: "Run", texts: Sequence[str | NDArray], pooling: str | None) -> NDArray: ...


@runtime_checkable
class Trains(Protocol):
    """Train without the training loop; the result is False if the training was interrupted."""

    def train(self, job: Job) -> bool: ...


@runtime_checkable
class Imports(Protocol):
    """Make a run of a model of another program; return a line about it."""

    def import_model(self, contents: Contents, file: str, folder: RunFolder) -> str: ...
