"""Progress on standard error: a bar, and for a training also a line for each validation."""

import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from minillm.training.task import Task

_REFRESH_SECONDS = 0.1


def progress_bar(
    items: Iterable[Any] | None = None,
    name: str | None = None,
    total: int | None = None,
    *,
    unit: str,
    quiet: bool = False,
) -> Any:
    """A bar that items pass through, or that ``update`` moves; it is shown on terminals only.

    ``unit`` names the items, such as " texts".  Bytes, "B", are written as 1.2M.
    """
    from tqdm import tqdm  # 15 ms, which no other use of a run waits for

    hidden = True if quiet else None  # None: where there is no terminal
    options = {"unit": unit, "unit_scale": unit == "B", "leave": False, "disable": hidden}
    return tqdm(items, name, total, **options)


class ProgressDisplay:
    """A progress bar with step, loss, items per second and time left.

    ``unit`` names the items: "character", "image", "pair".  ``position`` is the format of the
    position in the training.  The bar is shown on terminals and in notebooks; elsewhere only lines
    are printed, and nothing if standard error is closed.
    """

    def __init__(
        self, done: float, quiet: bool, unit: str = "token", position: str = "step {:,}"
    ) -> None:
        self.quiet = quiet or sys.stderr is None or sys.stderr.closed
        self.done = done
        self.unit, self.position = unit, position
        self.loss: float | None = None
        self.first: tuple[float, float, int] | None = None  # seconds, done, items: first update
        self.rate = 0.0
        self.shown = 0.0

    def __enter__(self) -> "ProgressDisplay":
        with warnings.catch_warnings():  # a notebook without ipywidgets has the lines only
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm  # 80 ms

        self.bar = tqdm(
            total=1.0,
            initial=min(self.done, 1.0),
            disable=True if self.quiet else None,  # None: off where there is no terminal
            bar_format="{percentage:3.0f}%|{bar}| {desc}",
            file=sys.stderr,
            leave=False,
        )
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.close()

    def update(self, done: float, at: float, loss: float, items: int, seconds: float) -> None:
        """Show a step: the loss is smoothed, and the bar refreshed a few times a second."""
        self.loss = loss if self.loss is None else 0.9 * self.loss + 0.1 * loss
        if self.first is None:
            self.first = (seconds, done, items)
            return
        now = time.monotonic()
        since, done_then, items_then = self.first
        if now - self.shown < _REFRESH_SECONDS or seconds <= since or done <= done_then:
            return
        self.shown = now
        self.rate = (items - items_then) / (seconds - since)
        left = max(0.0, 1 - done) * (seconds - since) / (done - done_then)
        self.bar.n = min(done, 1.0)
        self.bar.set_description_str(
            f"{self.position.format(at)}  loss {self.loss:.3f}  "
            f"{self.rate:,.0f} {self.unit}s/s  {minutes_and_seconds(left)} left",
        )

    def validated(self, at: float, loss: float, task: Task) -> None:
        """Write a line for a validation, with the measures of the task."""
        training = {} if self.loss is None else {"training": self.loss}
        self.line(at, training | {"validation": loss} | dict(task.measures))

    def line(self, at: float, values: Mapping[str, float]) -> None:
        """Write a line that stays when the bar moves on."""
        if self.quiet:
            return
        parts = [f"{name} {value:.3f}" for name, value in values.items()]
        parts += [f"{self.rate:,.0f} {self.unit}s/s"] if self.rate else []
        self.bar.write(f"{self.position.format(at)}: {', '.join(parts)}", file=sys.stderr)


def minutes_and_seconds(seconds: float) -> str:
    """Format a time as 3:07, or as 1:02:07 if it is an hour or more."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
