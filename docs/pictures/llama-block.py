"""A block of a Llama: two branches beside the stream; what is new since GPT-2 in orange."""

from drawing import Drawing

picture = Drawing(480, 620)
X = 70  # the stream
picture.text(X, 606, "$x$", size=18, colour="first")
picture.text(X, 14, "$y$", size=18, colour="first")
picture.line([(X, 590), (X, 336)], colour="first", width=3)
picture.line([(X, 304), (X, 81)], colour="first", width=3)
picture.line([(X, 49), (X, 28)], colour="first", width=3)

# the first branch: attention
picture.circle(X, 320, 16, "+", size=20)
picture.line([(X, 578), (285, 578), (285, 566)])
picture.box(285, 548, 130, 34, "RMS norm", size=16, colour="second")
for x, name in ((185, "$W_q$"), (285, "$W_k$"), (385, "$W_v$")):
    picture.line([(285, 531), (x, 511)])
    picture.box(x, 494, 70, 32, name, size=16)
for x in (185, 285):
    picture.line([(x, 478), (x, 456)])
    picture.box(x, 440, 84, 32, "rotate", size=16, colour="second")
    picture.line([(x, 424), (x, 402)])
picture.line([(385, 478), (385, 402)])
picture.box(285, 385, 290, 34, "attention", size=16)
picture.line([(285, 368), (285, 353)])
picture.box(285, 337, 70, 30, "$W_o$", size=16)
picture.line([(250, 337), (130, 337), (X + 15, 326)])

# the second branch: the gated feed-forward layer
picture.circle(X, 65, 16, "+", size=20)
picture.line([(X, 292), (285, 292), (285, 280)])
picture.box(285, 263, 130, 34, "RMS norm", size=16, colour="second")
for x, name in ((215, "$W_1$"), (355, "$W_3$")):
    picture.line([(285, 246), (x, 226)])
    picture.box(x, 209, 70, 32, name, size=16)
picture.line([(215, 193), (215, 171)])
picture.box(215, 155, 70, 32, "silu", size=16, colour="second")
picture.line([(215, 139), (215, 116), (269, 116)])
picture.line([(355, 193), (355, 116), (301, 116)])
picture.circle(285, 116, 15, "×", size=18, colour="second")
picture.line([(285, 101), (285, 82)])
picture.box(285, 65, 70, 32, "$W_2$", size=16)
picture.line([(250, 65), (X + 16, 65)])
picture.save(__file__)
