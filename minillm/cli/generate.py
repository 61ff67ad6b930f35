"""Generate text with a language model."""

import sys

from minillm.cli.arguments import Given, given, run_argument
from minillm.decoding import Sampling
from minillm.option import option
from minillm.runs.load import load


def generate(
    run_folder: str = run_argument("the run of a language model"),
    prompt: str = option(
        "", "the text to continue (default: a new line, or a new document)", "TEXT"
    ),
    length: int = option(
        500, "write at most N characters, words or byte pairs", "N", least=1, most=10**8
    ),
    stop: tuple[str, ...] = option(
        (), "end before this character, word or byte pair; may be given several times", "TEXT"
    ),
    sampling: Given = given(Sampling),
) -> int:
    """Generate text with a language model.

    The text is written a character, word or byte pair at a time.  A model that was trained on
    documents (shards, or a GPT-2) ends its text by itself.

    examples:
      minillm generate runs/first
      minillm generate runs/first --prompt "The while statement" --length 1000
      minillm generate runs/first --temperature 0       the most probable tokens: it will repeat
      minillm generate runs/first --temperature 1 --top-p 0.9 --seed 7
    """
    run = load(run_folder)
    for piece in run.write(prompt=prompt, length=length, stop=stop, **sampling):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0
