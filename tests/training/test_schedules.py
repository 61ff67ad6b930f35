import pytest

from minillm.training import SCHEDULES, Options, warmup_cosine
from minillm.training.schedules import inverse_square_root


def test_up_a_line_and_down_a_cosine():
    assert warmup_cosine(0, 0.2, 0.1) == pytest.approx(0.1)
    assert warmup_cosine(0.1, 0.2, 0.1) == pytest.approx(0.55)
    assert warmup_cosine(0.2, 0.2, 0.1) == pytest.approx(1)
    assert warmup_cosine(0.6, 0.2, 0.1) == pytest.approx(0.55)
    assert warmup_cosine(1, 0.2, 0.1) == pytest.approx(0.1)
    assert warmup_cosine(1.3, 0.2, 0.1) == pytest.approx(0.1)  # a step that ran over the time
    assert warmup_cosine(0, 0.0, 0.1) == pytest.approx(1)


def test_the_schedule_of_the_transformer_is_that_of_the_paper():
    """rate = D^-0.5 min(step^-0.5, step warmup^-1.5), of which the peak is (D warmup)^-0.5."""
    run = Options(steps=1000, learning_rate=(64 * 200) ** -0.5, warmup=0.2, schedule="inverse-sqrt")
    for step in (1, 100, 200, 300, 1000):
        expected = 64**-0.5 * min(step**-0.5, step * 200**-1.5)
        assert run.rate(run.progress(step, 0)) == pytest.approx(expected)
    assert inverse_square_root(0, 0) == inverse_square_root(0.5, 0) == 1


def test_progress_is_counted_in_steps_in_minutes_or_in_epochs():
    assert Options(steps=40).progress(10, 1e9) == 0.25
    assert Options(minutes=2).progress(10**9, 30) == 0.25
    assert Options(epochs=4, steps_per_epoch=10).progress(10, 1e9) == 0.25


@pytest.mark.parametrize("length", [{}, {"steps": 3, "minutes": 1}, {"epochs": 3, "steps": 1}])
def test_a_run_has_one_length(length):
    with pytest.raises(ValueError, match="steps, minutes"):
        Options(**length)


def test_a_schedule_is_declared_in_one_place(monkeypatch):
    def linear(progress, warmup, final):
        return 1 - progress * (1 - final)

    monkeypatch.setitem(SCHEDULES, "linear", linear)
    run = Options(steps=10, learning_rate=2.0, final=0.5, schedule="linear")
    assert run.rate(0.5) == 1.5
