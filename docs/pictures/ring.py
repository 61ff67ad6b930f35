"""A ring of four ranks: how many gradients each of the four pieces sums, after each round."""

from drawing import Drawing

R = 4
picture = Drawing(580, 372)


def x(rank, piece):
    return 122 + 120 * rank + 26 * piece


for r in range(R):
    picture.text(x(r, 1.5), 40, f"rank {r}", size=16)
    if r:
        picture.line([(x(r - 1, 1.5) + 32, 40), (x(r, 1.5) - 32, 40)])
end, start = x(R - 1, 1.5), x(0, 1.5)
picture.line([(end, 28), (end, 12), (start, 12), (start, 28)])
held = [[1] * R for _ in range(R)]  # of rank r and piece k: of how many ranks it is the sum
for turn in range(-1, 2 * (R - 1)):
    received = set()
    if turn >= 0:
        adding = turn < R - 1
        for r in range(R):
            k = (r - turn) % R if adding else (r + 1 - (turn - R + 1)) % R
            received.add(((r + 1) % R, k, held[r][k] + adding))
        for r, k, ranks in received:
            held[r][k] = ranks
    y = 74 + 42 * turn + 42 + (10 if turn >= R - 1 else 0)
    name = f"round {turn + 1}" if turn >= 0 else "start"
    picture.text(12, y, name, size=15, anchor="start")
    for r in range(R):
        for k in range(R):
            ranks = held[r][k]
            new = (r, k, ranks) in received
            colour = "second" if new else "third" if ranks == R else "plain"
            picture.box(x(r, k), y, 22, 30, f"{ranks}", colour=colour)
assert held == [[R] * R] * R
picture.line([(12, 74 + 42 * 3 + 26), (568, 74 + 42 * 3 + 26)], arrow=False, width=0.7)
picture.save(__file__)
