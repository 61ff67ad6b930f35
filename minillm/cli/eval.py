"""Measure a model on held-out data."""

from json import dumps

from minillm.cli.arguments import Given, argument, given, run_argument
from minillm.cli.process import say
from minillm.errors import InputError
from minillm.option import option
from minillm.runs.kind import Results
from minillm.runs.load import load
from minillm.runs.settings import EvalOptions


def eval_(
    run_folder: str = run_argument(),
    files: list[str] = argument("UTF-8 text, - for standard input", "FILE", ()),
    # The simple model is always measured.
    options: Given = given(EvalOptions, without=["beside"]),
    pairs: str | None = option(
        None,
        "of a language model: the share of pairs of sentences whose good one is more probable; "
        "minimal-pairs is a built-in FILE",
        "FILE",
    ),
    json: bool = option(False, "print one JSON object"),
) -> int:
    """Measure a model on held-out data.

    The data are the part that was held out in training, or all of the FILEs.
    A language model: nats and bits per token, perplexity; the loss of the best n-gram of the same
    training text; with --adapt the loss of a copy that learns from the text as it reads it; and
    with --mix the loss of the network and the n-gram in a mixture with n-grams of the text read so
    far.  An encoder-decoder: also the share of unknown words in the targets, exact outputs and
    token errors; with the packages of the extra "metrics", also BLEU, chrF and ROUGE (stemmed, 0 to
    1).  Where targets are summaries of their sources: also what is not in the source, what is
    copied, and what repeats; and ROUGE of the first sentence, of the one that TextRank chooses, and
    of the best one.  Several targets of a source are references, and the best one counts.  A
    classifier: accuracy, macro-F1 and the confusion matrix; for texts, also the accuracy of TF-IDF
    with logistic regression, trained on the same texts (this needs the package scikit-learn).  A qa
    model: exact match and F1 in percent.  A llama or a chat, on JSON lines: for conversations, the
    loss of the answers, and with --pattern the share of written answers that match.

    --pairs compares sentences: a FILE has lines good<TAB>bad or good<TAB>bad<TAB>group, or JSON
    lines with these names (x.jsonl).  A tie counts one half.  Intervals are of 95%.

    examples:
      minillm eval runs/first
      minillm eval runs/first other.txt --json
      minillm eval runs/first other.txt --adapt
      minillm eval runs/first --mix
      cat *.txt | minillm eval runs/first -
      minillm eval runs/cmudict --part test --beam 5
      minillm eval runs/multi30k val.tsv
      minillm eval runs/smol chats.jsonl --pattern "[0-9]+"
      minillm eval runs/first --pairs minimal-pairs
    """
    run = load(run_folder)
    if pairs is not None:
        if files or options:
            found = "a FILE of text" if files else f"--{min(options).replace('_', '-')}"
            raise InputError(f"expected no other data or measure with it, found {found}", "pairs")
        results = run.minimal_pairs(pairs)
        print(dumps(results) if json else shares(results), end="\n" if json else "")
        return 0
    if "beside" in run.kind.eval_options:
        options["beside"] = True
    results = run.evaluate(files=tuple(files), report=say, **options)
    if json:
        print(dumps(results))
        return 0
    labels, matrix = results.pop("labels", []), results.pop("confusion", [])
    width = max(map(len, results)) + 2
    for key, value in results.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        print(f"{key.replace('_', ' '):{width}}{shown}")
    if labels:
        print(confusion(labels, matrix), end="")
    return 0


def shares(results: Results) -> str:
    """The shares of minimal pairs as a table: the groups, and all."""
    rows = {**results["groups"], "all": results}
    width = max(map(len, rows))
    lines = [f"{'':{width}}  pairs  {'total log-probability':28}mean per token"]
    for name, row in rows.items():
        line = f"{name:{width}}  {row['total']['pairs']:5}"
        for one in (row["total"], row["mean"]):
            ties = f", {one['ties']} ties" if one["ties"] else ""
            cell = f"{one['accuracy']:.3f} ({one['low']:.3f} to {one['high']:.3f}{ties})"
            line += f"  {cell:26}"
        lines.append(line.rstrip())
    return "".join(f"{line}\n" for line in lines)


def confusion(labels: list[str], matrix: list[list[int]]) -> str:
    """The confusion matrix as a table."""
    width = max(len(str(max(map(max, matrix)))), *map(len, labels)) + 1
    lines = ["confusion: each row is a label, each column a prediction"]
    lines.append("".join(f"{label:>{width}}" for label in ["", *labels]))
    for label, row in zip(labels, matrix, strict=True):
        lines.append("".join(f"{entry:>{width}}" for entry in [label, *row]))
    return "".join(f"{line}\n" for line in lines)
