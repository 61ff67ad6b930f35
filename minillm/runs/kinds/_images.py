"""Images, for the kinds image-classifier and captioner."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm.data import registry
from minillm.errors import InputError
from minillm.option import option
from minillm.runs.kind import Given
from minillm.runs.run import Run


@dataclass(frozen=True)
class ImageSettings:
    """The setting of every model of images."""

    data: str = option(
        "digits", "the built-in set", "DATA", choices=("digits",), positional=True, data=True
    )


def held_out_images(
    run: Run, given: Given, part: str | None
) -> tuple[str, tuple[NDArray, NDArray[np.integer]]]:
    """The name, images and classes of the data to measure on."""
    if given.title:
        raise InputError("FILE: images are measured on the built-in set only (part)")
    part, name = part or "validation", run.data["data"]
    return f"{name}, {part}", registry.open_images(name).part(part)
