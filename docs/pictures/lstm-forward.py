"""The LSTM cell, forward: the path of the cell along the top, and the gates below it."""

from lstm_cell import GATES, cell

picture = cell()
for x in GATES.values():
    picture.line([(x, 335), (x, 313)])
picture.line([(62, 55), (79, 55)], colour="fourth", width=3)
picture.line([(111, 55), (209, 55)], colour="fourth", width=3)
picture.line([(241, 55), (412, 55)], colour="fourth", width=3)
picture.line([(385, 55), (385, 108)])
picture.line([(385, 142), (385, 189)])
picture.line([(95, 257), (95, 71)])
picture.line([(185, 257), (185, 215), (214, 192)])
picture.line([(265, 257), (265, 215), (236, 192)])
picture.line([(225, 164), (225, 71)])
picture.line([(330, 257), (330, 205), (369, 205)])
picture.line([(385, 221), (385, 262)])
picture.line([(124, 409), (150, 375)])
picture.line([(300, 406), (285, 375)])
picture.text(30, 55, "$c_{t−1}$", colour="fourth", size=18)
picture.text(426, 55, "$c$", colour="fourth", size=18)
picture.text(388, 276, "$h$", colour="first", size=18)
picture.text(150, 33, "$f c_{t−1}$", size=16)
picture.text(250, 120, "$i g$", size=16)
picture.save(__file__)
