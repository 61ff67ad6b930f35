"""From comparisons to a model: by a reward model and reinforcement learning, or by one loss."""

from drawing import Drawing

picture = Drawing(480, 330)
picture.box(75, 165, 120, 46, "comparisons", size=16, colour="first")
picture.box(410, 165, 100, 46, "model $p$", size=16, colour="third")

# RLHF above
picture.text(240, 14, "RLHF", size=17)
picture.line([(75, 142), (75, 70), (116, 70)])
picture.box(178, 70, 124, 46, "reward model", size=16, colour="second")
picture.line([(240, 70), (276, 70)])
picture.box(345, 70, 138, 46, "policy gradient", size=16, colour="second")
picture.line([(410, 93), (410, 142)])
picture.line([(360, 155), (320, 155), (320, 93)], dashed=True)
picture.text(262, 130, "answers drawn", size=14)
picture.text(150, 112, "$−$ln $σ(R_w − R_l)$", size=15)

# DPO below
picture.text(240, 316, "DPO", size=17)
picture.line([(75, 188), (75, 260), (138, 260)])
picture.box(240, 260, 204, 46, "$−$ln $σ(β$ margin$)$", size=17, colour="fourth")
picture.line([(342, 260), (410, 260), (410, 188)])
picture.save(__file__)
