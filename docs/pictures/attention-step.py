"""One step of a decoder with attention: scores, weights, the context, the prediction."""

from itertools import pairwise

from drawing import Drawing

picture = Drawing(440, 520)
places = [46, 142, 238]
for x, word, number, weight in zip(places, "cat", "123", (0.1, 0.8, 0.1), strict=True):
    picture.text(x, 502, word, size=18)
    picture.line([(x, 488), (x, 462)])
    picture.box(x, 442, 76, 38, f"$memory_{number}$", colour="third", size=14)
    picture.line([(x, 422), (x, 378)])
    picture.circle(x, 354, 23, f"$s_{number}$", size=18)
    picture.line([(x, 331), (x, 289)])
    picture.box(x, 270, 58, 36, f"{weight}", colour="fourth", size=18)
    end = 142 + (x - 142) * 0.3
    picture.line([(x, 251), (end, 194)], colour="fourth", width=9 * weight, arrow=False)
    picture.line([(x, 251), (end, 186)], colour="fourth")
for x, end in pairwise(places):
    picture.line([(x + 38, 442), (end - 38, 442)])
picture.text(276, 304, "softmax", size=17, anchor="start")
picture.text(276, 270, "weights", size=17, anchor="start", colour="fourth")
picture.text(276, 226, "weighted sum", size=17, anchor="start")
picture.box(142, 166, 110, 38, "context", colour="third", size=18)
picture.box(360, 442, 50, 38, "$h$", colour="second", size=18)
picture.text(360, 502, "K", size=18)
picture.line([(360, 488), (360, 462)])
picture.line([(352, 422), (340, 354), (262, 354)], colour="second", dashed=True)
picture.text(276, 336, "query", size=17, anchor="start", colour="second")
picture.line([(410, 442), (424, 442), (424, 96), (304, 96)], colour="second")
picture.line([(385, 442), (412, 442)], colour="second", arrow=False)
picture.line([(142, 146), (142, 96), (184, 96)])
picture.box(244, 96, 116, 38, "tanh, $W$", size=18)
picture.line([(244, 76), (244, 46)])
picture.text(244, 28, "AE", size=18)
picture.save(__file__)
