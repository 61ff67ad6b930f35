"""Three sequences in one array: the tokens with padding, their mask, and what divides the loss."""

from drawing import Drawing

SEQUENCES = ("the dog ran so far", "it was", "we are here")
T = 5
picture = Drawing(560, 218)
picture.text(134, 16, f"tokens $(B, T)$ = (3, {T})", size=16)
picture.text(372, 16, "mask", size=16)
picture.text(516, 16, "$T_b$", size=17)
lengths = [len(sequence.split()) for sequence in SEQUENCES]
for b, sequence in enumerate(SEQUENCES):
    y, tokens = 58 + 44 * b, sequence.split()
    for t in range(T):
        real = t < lengths[b]
        x, colour = 34 + 50 * t, "first" if real else "plain"
        picture.box(x, y, 46, 36, tokens[t] if real else "", colour=colour, dashed=not real)
        picture.box(300 + 36 * t, y, 32, 36, f"{int(real)}", colour=colour, dashed=not real)
    picture.text(516, y, f"{lengths[b]}", size=16, colour="first")
picture.line([(282, 174), (282, 184), (462, 184), (462, 174)], arrow=False)
n = sum(lengths)
words = f"$n$ = {' + '.join(map(str, lengths))} = {n} real tokens"
picture.text(372, 204, words, size=16, colour="first")
picture.text(134, 182, f"$B T$ = {T * len(lengths)} positions,", size=16)
picture.text(134, 204, f"{T * len(lengths) - n} of them padding", size=16)
picture.save(__file__)
