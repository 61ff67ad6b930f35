"""The learning rate of the first Transformer: a line up, then the inverse root of the step."""

from drawing import Drawing

picture = Drawing(440, 250)
D, WARM_UP, STEPS = 512, 4000, 20000
LEFT, RIGHT, TOP, BOTTOM = 74, 424, 30, 200
PEAK = 8e-4  # at the top of the picture


def x_of(step):
    return round(LEFT + (RIGHT - LEFT) * step / STEPS, 1)


def y_of(rate):
    return round(BOTTOM - (BOTTOM - TOP) * rate / PEAK, 1)


def rate(step):
    return D**-0.5 * min(step**-0.5, step * WARM_UP**-1.5)


points = [(x_of(step), y_of(rate(step))) for step in range(100, STEPS + 1, 100)]
picture.line([(LEFT, TOP - 10), (LEFT, BOTTOM), (RIGHT, BOTTOM)], arrow=False, width=1)
picture.line([(x_of(0), y_of(0)), *points], colour="first", arrow=False, width=3)
for step in (0, 4000, 10000, 20000):
    picture.text(x_of(step) - 14 * (step == STEPS), BOTTOM + 18, f"{step:,}", size=14)
for value in (0, 0.0004, 0.0007):
    picture.text(LEFT - 8, y_of(value), f"{value:g}", size=14, anchor="end")
top = y_of(rate(WARM_UP))
picture.line([(x_of(WARM_UP), BOTTOM), (x_of(WARM_UP), top)], dashed=True, arrow=False, width=1)
picture.text(x_of(WARM_UP) + 14, 26, "warm-up ends", size=15, anchor="start")
picture.text((LEFT + RIGHT) / 2, 240, "step", size=15)
picture.save(__file__)
