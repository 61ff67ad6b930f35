"""Two ranks take a step: rows are dealt, gradients are summed, weights stay equal."""

from drawing import Drawing

picture = Drawing(440, 400)
picture.box(220, 28, 230, 42, "a batch of $n$ tokens", size=17)
for x, rank, colour in ((110, 0, "first"), (330, 1, "third")):
    picture.line([(220, 50), (x, 84)])
    picture.box(x, 106, 190, 42, f"rank {rank}: its rows", colour=colour, size=17)
    picture.line([(x, 128), (x, 156)])
    picture.box(x, 178, 190, 42, "forward, backward", colour=colour, size=17)
    picture.line([(x, 200), (x, 238)])
    picture.text(x + 42, 219, f"$g_{rank}, n_{rank}$", size=17)
    picture.line([(x, 284), (x, 322)])
    picture.text(x + 15, 303, "$g$", size=17)
    picture.box(x, 346, 190, 46, "the same step", colour=colour, size=17)
picture.box(220, 261, 410, 44, "sum over ranks of $(n_r / n) g_r$", colour="second", size=17)
picture.text(220, 388, "equal weights before, equal weights after", size=17)
picture.save(__file__)
