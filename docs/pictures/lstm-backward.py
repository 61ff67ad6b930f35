"""The LSTM cell, backward: every arrow of the forward, turned round, with its gradient."""

from lstm_cell import GATES, cell

picture = cell()


def back(points, words, x, y, *, colour="second", width=1.5, anchor="middle"):
    picture.line(points, colour=colour, dashed=True, width=width)
    picture.text(x, y, words, size=17, colour=colour, anchor=anchor)


back([(406, 55), (241, 55)], "$dc$", 424, 55, colour="fourth", width=3)
back([(209, 55), (111, 55)], "$dc$", 160, 36, colour="fourth", width=3)
back([(79, 55), (50, 55)], "$dc f$", 40, 32, colour="fourth", width=3)
back([(95, 71), (95, 257)], "$dc c_{t−1}$", 88, 160, anchor="end")
back([(225, 71), (225, 164)], "$dc$", 242, 118)
back([(214, 192), (185, 215), (185, 257)], "$dc g$", 178, 206, anchor="end")
back([(236, 192), (265, 215), (265, 257)], "$dc i$", 271, 240, anchor="start")
back([(385, 262), (385, 221)], "$dh$", 385, 276)
back([(369, 205), (330, 205), (330, 257)], "$dh tanh c$", 316, 186)
back([(385, 189), (385, 142)], "$dh o$", 415, 168)
back([(385, 108), (385, 60)], "$dh o (1 − tanh^2 c)$", 378, 84, anchor="end")
for x in GATES.values():
    picture.line([(x, 312), (x, 335)], colour="second", dashed=True)
picture.text(350, 324, "$da$", size=17, colour="second")
back([(150, 375), (124, 409)], "$da W_x^⊤$", 80, 392)
back([(285, 375), (300, 406)], "$da W_h^⊤$", 345, 391)
picture.save(__file__)
