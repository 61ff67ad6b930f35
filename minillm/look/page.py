"""One HTML file that shows the inside of a model: it stands alone, and fetches nothing.

The file is ``look.html`` with the style ``look.css``, the script ``look.js`` and the numbers as
JSON.  Weights of attention and activities are bytes in base64: 0 to 255 for 0 to 1, or for -1 to 1.
"""

import base64
import html
import json
import math
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import write_file
from minillm.errors import InputError
from minillm.look.trace import Trace

TOP = 10  # tokens of a distribution
UNITS = 32  # hidden units that are shown one by one
HEIGHT = 760  # pixels, in a notebook


class Page:
    """A page about the inside of a model, with the predictions of another model next to them.

    A notebook shows it.  ``trace`` and ``beside`` have the numbers, ``values`` has them as JSON,
    ``html`` is the file.
    """

    def __init__(self, trace: Trace, beside: Trace | None = None):
        """InputError unless both have split the text into the same tokens."""
        self.trace, self.beside = trace, beside
        self.values = page_values(trace)
        if beside is not None:
            self.values["beside"] = _beside(trace, beside)
        self.html = render(self.values)

    def save(self, path: str | Path) -> None:
        """Write the file."""
        write_file(path, self.html.encode(errors="replace"))  # the name of a folder may be no UTF-8

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" sandbox="allow-scripts" '
            f'style="width: 100%; height: {HEIGHT}px; border: 0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<Page: {len(self.trace.tokens)} {self.trace.unit}s in {self.trace.name}>"


def render(values: dict[str, Any]) -> str:
    """The file.  No text of the data ends the script: ``<`` is escaped in JSON."""
    files = resources.files("minillm.look")
    page, style, script = (
        files.joinpath(f"look.{suffix}").read_text("utf-8") for suffix in ("html", "css", "js")
    )
    numbers = json.dumps(values, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {
        "{{title}}": html.escape(f"A look inside {values['name']}"),
        "{{numbers}}": numbers,
        "/*style*/": style,
        "/*script*/": script,
    }
    return re.sub("|".join(map(re.escape, parts)), lambda place: parts[place[0]], page)


# --- the numbers ----------------------------------------------------------------------------------


def page_values(trace: Trace) -> dict[str, Any]:
    """The numbers that the script draws, as JSON."""
    return {
        "model": trace.model,
        "name": trace.name,
        "unit": trace.unit,
        "notes": trace.notes,
        "vocabulary": trace.logits.shape[1],
        "tokens": {
            "text": trace.tokens,
            "source": trace.source,
            "inputs": ["(start)", *trace.tokens[:-1]],
        },
        "hidden": trace.hidden,
        **_predictions(trace),
        "gradient": _matrix(trace.gradient),
        "by_token": _matrix(trace.by_token),
        "by_head": None if trace.by_head is None else list(map(_rows, trace.by_head)),
        "attention": [
            {
                "name": part.name,
                "queries": part.queries,
                "keys": part.keys,
                "causal": part.causal,
                "weights": [[_bytes(head) for head in layer] for layer in part.weights],
            }
            for part in trace.attention
        ],
        "activity": [_activity(layer) for layer in trace.activity],
    }


def _predictions(trace: Trace) -> dict[str, Any]:
    probabilities, losses = trace.probabilities, trace.losses
    known = losses[np.isfinite(losses)]
    rows: list[Any] = []
    for t, row in enumerate(probabilities):
        right = int(trace.ids[t]) if t < len(trace.ids) else -1
        rows.append(None if np.isnan(row).any() else _distribution(row, right, trace))
    return {
        "predictions": rows,
        "losses": [_short(loss) for loss in losses.tolist()],
        "mean": _short(float(known.mean())) if len(known) else None,
        "contexts": None if trace.contexts is None else trace.contexts.tolist(),
    }


def _distribution(row: NDArray, right: int, trace: Trace) -> dict[str, Any]:
    """The most probable tokens, and the probability and the rank of the right one."""
    best = np.argsort(-row, kind="stable")[:TOP].tolist()
    values: dict[str, Any] = {"top": [[trace.label(k), _short(float(row[k]))] for k in best]}
    if right >= 0:
        values["p"] = _short(float(row[right]))
        values["rank"] = int((row > row[right]).sum()) + 1
        values["at"] = best.index(right) if right in best else -1
    return values


def _beside(trace: Trace, beside: Trace) -> dict[str, Any]:
    """The predictions of the other model for the tokens of the first."""
    count, other = len(trace.tokens), len(beside.tokens)
    shared = min(count, other)
    if trace.tokens[count - shared :] != beside.tokens[other - shared :]:
        raise InputError(
            f"expected a run that splits the text into the same {trace.unit}s, "
            f"found one of other {beside.unit}s",
            "beside",
        )
    values = _predictions(beside)
    for name in ("predictions", "losses", "contexts"):
        if values[name] is not None:
            extra = 1 if name != "losses" else 0
            kept = values[name][other - shared :]
            values[name] = [None] * (count + extra - len(kept)) + kept
    return {"model": beside.model, "name": beside.name} | values


def _activity(values: dict[str, NDArray]) -> dict[str, Any]:
    """Means over all units, and the units whose output changes most, one by one."""
    *_, outputs = values.values()  # (T, H)
    changes = np.abs(np.diff(outputs, axis=0)).sum(axis=0)
    units = np.argsort(-changes, kind="stable")[:UNITS]
    shown = values | {"c": np.tanh(values["c"])} if "c" in values else values  # from -1 to 1
    return {
        "units": outputs.shape[1],
        "shown": [int(unit) for unit in units],
        "values": {
            name: {
                "mean": [_short(value) for value in array.mean(axis=1).tolist()],
                "signed": bool((array < 0).any()),
                "rows": [_bytes((row + 1) / 2) for row in array[:, units].T],
            }
            for name, array in shown.items()
        },
    }


def _matrix(values: NDArray | None) -> list[list[float | None]] | None:
    if values is None or not values.any():
        return None
    return _rows(values)


def _rows(values: NDArray) -> list[list[float | None]]:
    return [[_short(value) for value in row] for row in values.tolist()]


def _bytes(values: NDArray) -> str:
    """Numbers from 0 to 1 as bytes in base64."""
    return base64.b64encode(np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)).decode()


def _short(value: float) -> float | None:
    """A number with four digits, for JSON; None for NaN."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
