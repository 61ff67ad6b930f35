"""The best model of RLHF for three strengths of the penalty, next to the model it starts from."""

from math import exp

from drawing import COLOURS, Drawing

P_0, REWARDS = (0.5, 0.3, 0.2), (0, 1, 2)  # as in the chapter
picture = Drawing(520, 268)
for n, (beta, name) in enumerate(
    ((None, "$p_0$"), (4, "$β$ = 4"), (1, "$β$ = 1"), (0.25, "$β$ = 1/4"))
):
    tilts = [exp(R / beta) if beta else 1 for R in REWARDS]
    weights = [p * tilt for p, tilt in zip(P_0, tilts, strict=True)]
    for k, weight in enumerate(weights):
        x, share = 32 + 130 * n + 36 * k, weight / sum(weights)
        height, colour = max(170 * share, 0.5), COLOURS[("first", "second", "third")[k]]
        picture.parts.append(
            f'<rect x="{x - 14}" y="{208 - height:.1f}" width="28" height="{height:.1f}" '
            f'style="fill:{colour}" fill-opacity="0.7"/>'
        )
        picture.text(x, 198 - height, f"{share:.{2 if share > 0.005 else 3}f}", size=13)
    picture.line([(12 + 130 * n, 208), (124 + 130 * n, 208)], arrow=False)
    picture.text(68 + 130 * n, 228, name, size=17)
for k, R in enumerate(REWARDS):
    colour = ("first", "second", "third")[k]
    picture.text(130 + 130 * k, 254, f"reward {R}", size=16, colour=colour)
picture.text(68, 16, "start", size=16)
picture.text(328, 16, "optimum $p^*$", size=16)
picture.save(__file__)
