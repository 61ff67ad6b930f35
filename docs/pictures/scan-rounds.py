"""A parallel scan of eight steps in three rounds: which steps each position has joined."""

from drawing import Drawing

WIDTH, ROUNDS = 8, 3
picture = Drawing(440, 310)


def x(t):
    return 92 + 46 * (t - 1)


def y(done):
    return 30 + 82 * done


for done in range(ROUNDS + 1):
    name = "steps" if done == 0 else f"round {done - 1}"
    picture.text(34, y(done), name, size=16, colour="plain" if done == 0 else "second")
    for t in range(1, WIDTH + 1):
        first = max(1, t - 2**done + 1)  # it has joined the steps from first to t
        whole = first == 1
        words = f"{t}" if first == t else f"{first}–{t}"
        picture.box(x(t), y(done), 40, 32, words, colour="third" if whole else "first", size=16)
        if done < ROUNDS:
            picture.line([(x(t), y(done) + 17), (x(t), y(done + 1) - 17)])
        if done and t > 2 ** (done - 1):
            source = t - 2 ** (done - 1)
            start = (x(source) + 6, y(done - 1) + 17)
            picture.line([start, (x(t) - 9, y(done) - 17)], colour="second")
picture.save(__file__)
