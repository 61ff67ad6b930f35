import io

import pytest

from minillm.plots import loss_curve

pytest.importorskip("matplotlib")
RECORDS = [
    {"step": 10, "loss": 3.0},
    {"step": 20, "validation_loss": 2.5},
    {"step": 20, "loss": 2.6},
    {"step": 40, "validation_loss": 2.25},
]


@pytest.mark.parametrize("records", [[], RECORDS[:1], RECORDS])
def test_a_png_whatever_the_run_has_come_to(records):
    from matplotlib.image import imread

    png = loss_curve(records, "character")
    assert imread(io.BytesIO(png)).shape[:2] > (300, 300)
