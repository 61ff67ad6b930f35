"""The pictures of attention in docs/, from trained runs.

    python -m benchmarks.pictures --translator runs/multi30k "a man in an orange hat ." --out docs
    python -m benchmarks.pictures --gpt runs/gpt --text shakespeare.txt --out docs

transformer-attention.png: what a Transformer attends to in a sentence that it translates, in the
layer whose attention comes closest to an alignment (the last but one, mean of the heads).

previous-token.png: of all heads of a GPT the one that attends most to the token before, on the
beginning of a text.  It is found by its mean weight there, over passages of the text; the list
shows the best of each layer, beside what a head would give it that looks at all tokens alike.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import minillm
from minillm.cli import main as command
from minillm.plots import attention_map
from minillm.runs.run import Run

PASSAGES = 16  # of the text, each as long as the context
SHOWN = 32  # tokens in the picture of a head


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--translator", metavar="DIR", help="a run of train transformer")
    parser.add_argument("sentence", nargs="?", help="what it translates")
    parser.add_argument("--gpt", metavar="DIR", help="a run of train gpt")
    parser.add_argument("--text", type=Path, metavar="FILE", help="what it reads")
    parser.add_argument("--out", type=Path, default=Path("docs"), metavar="DIR")
    args = parser.parse_args()
    if (args.translator is None) != (args.sentence is None):
        parser.error("--translator and a sentence go together")
    if (args.gpt is None) != (args.text is None):
        parser.error("--gpt and --text go together")
    if args.translator is not None:
        to = str(args.out / "transformer-attention.png")
        if status := command(["plot", "attention", args.translator, args.sentence, "--to", to]):
            raise SystemExit(status)
    if args.gpt is not None:
        draw_previous_token(minillm.load(args.gpt), args.text, args.out / "previous-token.png")


def draw_previous_token(run: Run, text: Path, to: Path) -> None:
    """Finds the head, prints the figures, draws it."""
    ids = run.tokenizer.encode(text.read_text("utf-8"))
    context = run.model.config.context
    passages = ids[: min(PASSAGES, len(ids) // context) * context].reshape(-1, context)
    if len(passages) == 0:
        raise SystemExit(f"{text}: expected {context} tokens or more, found {len(ids)}")
    means = weight_on_previous(run.model, passages)  # (L, N)
    for layer, of_heads in enumerate(means):
        best = of_heads.argmax()
        print(f"layer {layer}: head {best} gives the previous token {of_heads[best]:.2f}")
    print(f"all tokens alike: {(1 / np.arange(2, context + 1)).mean():.2f}")
    layer, head = divmod(int(means.argmax()), means.shape[1])
    shown = passages[:1, :SHOWN]
    weights = run.model.attention_weights(shown, layer)[0, head]
    tokens = [run.tokenizer.show(id) for id in shown[0].tolist()]
    title = f"layer {layer}, head {head}: {means.max():.0%} on the previous token"
    to.write_bytes(attention_map(weights, tokens, tokens, title))
    print(to)


def weight_on_previous(model, passages: NDArray) -> NDArray:
    """The mean weight of the token before, of each layer and head: passages (B, T) -> (L, N)."""
    return np.array(
        [
            model.attention_weights(passages, layer).diagonal(-1, 2, 3).mean(axis=(0, 2))
            for layer in range(model.config.layers)
        ]
    )


if __name__ == "__main__":
    main()
