"""Look inside a model as it reads a text."""

from minillm.cli.arguments import argument, run_argument
from minillm.cli.process import say
from minillm.option import option
from minillm.runs.load import load


def look(
    run_folder: str = run_argument(),
    text: str = argument("the text that the model reads", "TEXT"),
    out: str | None = option(None, "the file (default: DIR/look.html)", "FILE"),
    beside: str | None = option(
        None, "another run with the same tokens, to compare with (default: the best n-gram)", "DIR"
    ),
    target: str | None = option(
        None, "the output of a translator to look at (default: its own)", "TEXT"
    ),
) -> int:
    """Look inside a model as it reads a text.

    Write one HTML file that opens from disk in any browser.  It shows, for each token, the
    distribution that predicted it and its loss; the attention of all heads of a GPT, a BERT or a
    translator; what each token and each head of a GPT adds to a prediction; the gates and cells of
    a recurrent language model; and in these models, but for translators, the gradient of each loss
    that reaches each token.  It compares the predictions of a network with the best n-gram of the
    same training text.  For a translator, TEXT is the source.  For an n-gram model, the page shows
    the contexts that it found.

    examples:
      minillm look runs/first "The while statement"
      minillm look runs/first "The while statement" --beside runs/characters
            with the predictions of another run
      minillm look runs/bert "the while statement repeats" --out bert.html
      minillm look runs/numbers "forty-two" --target "quarante-deux"
    """
    first = load(run_folder)
    page = first.look(text, None if beside is None else load(beside), target)
    path = first.home / "look.html" if out is None else out
    page.save(path)
    for note in page.trace.notes:
        say(note)
    print(path)
    return 0
