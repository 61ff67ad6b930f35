"""An encoder-decoder without attention: the source becomes one vector, the target begins there."""

from itertools import pairwise

from drawing import Drawing

picture = Drawing(440, 256)
places = [26 + 56 * n for n in range(3)] + [246 + 56 * n for n in range(4)]
middle, first = 126, 192  # of the states; of the vector
for x, word in zip(places, ("c", "a", "t", "BOS", "K", "AE", "T"), strict=True):
    source = x < first
    picture.box(x, middle, 40, 36, colour="third" if source else "second")
    picture.text(x, middle + 78, word, size=17)
    picture.line([(x, middle + 64), (x, middle + 19)])
for x, word in zip(places[3:], ("K", "AE", "T", "EOS"), strict=True):
    picture.text(x, middle - 76, word, size=17)
    picture.line([(x, middle - 19), (x, middle - 62)])
stops = [*places[:3], first, *places[3:]]
for x, end in pairwise(stops):
    gap = 13 if x == first else 20
    picture.line([(x + gap, middle), (end - (13 if end == first else 20), middle)])
for n in range(5):
    picture.circle(first, middle - 36 + 18 * n, 8, colour="fourth")
picture.text(156, middle - 62, "one vector", size=17, colour="fourth")
picture.text(82, 240, "encoder", size=18, colour="third")
picture.text(330, 240, "decoder", size=18, colour="second")
for x, end in pairwise(places[3:]):  # an output is the next input
    path = [(x + 6, middle - 76 + 14), (x + 28, middle - 50), (x + 28, middle + 66)]
    picture.line([*path, (end - 14, middle + 74)], colour="second", dashed=True)
picture.text(330, 20, "predictions", size=18)
picture.save(__file__)
