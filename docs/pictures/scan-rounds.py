"""A parallel scan of eight steps in three rounds: which steps each position has joined."""

from drawing import Drawing

WIDTH, ROUNDS = 8, 3
picture = Drawing(640, 330)


def x(t):
    return 150 + 64 * (t - 1)


def y(done):
    return 40 + 84 * done


for done in range(ROUNDS + 1):
    name = "steps" if done == 0 else f"round {done - 1}"
    picture.text(60, y(done), name, size=16, colour="plain" if done == 0 else "second")
    for t in range(1, WIDTH + 1):
        first = max(1, t - 2**done + 1)  # it has joined the steps from first to t
        whole = first == 1
        words = f"{t}" if first == t else f"{first} to {t}"
        picture.box(x(t), y(done), 54, 32, words, colour="third" if whole else "first", size=15)
        if done < ROUNDS:
            picture.line([(x(t), y(done) + 17), (x(t), y(done + 1) - 17)])
        if done and t > 2 ** (done - 1):
            source = t - 2 ** (done - 1)
            start = (x(source) + 8, y(done - 1) + 17)
            picture.line([start, (x(t) - 12, y(done) - 17)], colour="second")
picture.save(__file__)
