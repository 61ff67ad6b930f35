"""The shapes of self-attention in heads, from x to y."""

from drawing import Drawing

picture = Drawing(440, 640)
steps = (
    (28, "$x$", "$(B, T, D)$", "plain", "times $W_{qkv}$, plus $b_{qkv}$"),
    (112, "$q, k, v$ side by side", "$(B, T, 3D)$", "first", "split: reshape, exchange axes"),
    (196, "$q, k, v$", "$(B, N, T, D/N)$", "first", "$q k^⊤ / √(D/N)$, mask"),
    (280, "scores", "$(B, N, T, T)$", "second", "softmax over the keys"),
    (364, "weights", "$(B, N, T, T)$", "second", "times $v$"),
    (448, "context", "$(B, N, T, D/N)$", "third", "join: exchange axes, reshape"),
    (532, "heads side by side", "$(B, T, D)$", "third", "times $W_o$, plus $b_o$"),
    (612, "$y$", "$(B, T, D)$", "plain", ""),
)
for number, (y, name, shape, colour, step) in enumerate(steps):
    picture.box(220, y, 400, 40, colour=colour)
    picture.text(34, y, name, size=18, anchor="start")
    picture.text(406, y, shape, size=18, anchor="end")
    if step:
        end = steps[number + 1][0] - 20
        picture.line([(60, y + 20), (60, end)])
        picture.text(78, (y + 20 + end) / 2, step, size=17, anchor="start", italic=True)
picture.save(__file__)
