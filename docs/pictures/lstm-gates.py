"""The gates and the cell of two units of a trained LSTM over a line of text.

The data in docs/outputs/lstm-gates.json are measured once, on the run that its "command" trains:

    python docs/pictures/lstm-gates.py --measure RUN

Of the 128 units, those are shown whose cell correlates most with the place in the line, and with
being inside parentheses, over the held-out tenth of the text.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
from plotting import COLOURS, new_figure, plt, save

DATA = Path(__file__).resolve().parents[1] / "outputs" / "lstm-gates.json"
COMMAND = "minillm train lm --out RUN --hidden 128 --minutes 1.8 --seed 1"
LINE = "of a call (or of a class) are\nevaluated first"


def run_over(run, text):
    """Gates i, f, o and the cell of every unit over a text: each (T, H)."""
    page = importlib.import_module("minillm.ops.lstm")  # ops.lstm is the function
    p = run.model.params
    W_x, zeros = p["embedding.E"] @ p["layers.0.W_x"], np.zeros((1, 128), np.float32)
    ids = np.asarray(run.tokenizer.encode(text), np.int64)[None]
    _, _, _, gates, cs = page.lstm_forward(
        ids, zeros, zeros, W_x, p["layers.0.W_h"], p["layers.0.b"], np.array([len(text)])
    )
    i, f, _, o = np.split(gates[0], 4, axis=-1)
    return i, f, o, cs[0]


def measure(folder):
    """Choose two units on the held-out text, and keep what they do on the line."""
    import minillm
    from minillm.data.python_texts import builtin_corpus

    run = minillm.load(folder)
    text = builtin_corpus()
    text = text[-len(text) // 10 :][:20000]
    place, inside, at, depth = [], [], 0, 0
    for character in text:
        at = 0 if character == "\n" else at + 1
        depth = max(0, depth + (character == "(") - (character == ")"))
        depth = 0 if at == 0 and depth > 3 else depth
        place.append(at)
        inside.append(depth > 0)
    *_, cells = run_over(run, text)
    i, f, o, cs = run_over(run, LINE)
    kept = {"command": COMMAND, "machine": "AMD EPYC, one core, shared", "line": LINE, "units": []}
    for what, values in (("the place in the line", place), ("inside parentheses", inside)):
        correlation = [np.corrcoef(values, cells[:, u])[0, 1] for u in range(cells.shape[1])]
        unit = int(np.argmax(np.abs(correlation)))
        kept["units"].append(
            {
                "what": what,
                "unit": unit,
                "correlation": round(float(correlation[unit]), 3),
                "i": i[:, unit].round(3).tolist(),
                "f": f[:, unit].round(3).tolist(),
                "o": o[:, unit].round(3).tolist(),
                "c": cs[:, unit].round(3).tolist(),
            }
        )
        print(what, unit, correlation[unit])
    DATA.parent.mkdir(exist_ok=True)
    DATA.write_text(json.dumps(kept) + "\n")


def draw():
    kept = json.loads(DATA.read_text())
    figure, rows = new_figure(5.4, 4.8, nrows=4, sharex=True, height_ratios=[1.3, 1, 1.3, 1])
    for k, unit in enumerate(kept["units"]):
        gates, cell = rows[2 * k], rows[2 * k + 1]
        for name, colour, style in zip("ifo", COLOURS[1:], (":", "-", "--"), strict=True):
            gates.plot(unit[name], style, color=colour, linewidth=2, label=name)
        gates.set(ylim=(-0.05, 1.05), yticks=[0, 1])
        gates.set_title(
            f"unit {unit['unit']} (correlation {abs(unit['correlation']):.2f})",
            fontsize=12,
            loc="left",
        )
        cell.bar(range(len(unit["c"])), unit["c"], color=COLOURS[0], width=0.7)
        cell.axhline(0, color="black", linewidth=0.8)
        cell.set_ylabel("c")
    rows[0].legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 0.95), borderpad=0)
    rows[-1].set_xticks(range(len(kept["line"])), list(kept["line"].replace("\n", "¶")))
    rows[-1].tick_params(axis="x", length=0, labelsize=11)
    save(figure, __file__)
    plt.close(figure)


if sys.argv[1:2] == ["--measure"]:
    measure(sys.argv[2])
else:
    draw()
