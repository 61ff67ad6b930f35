"""Words and texts that are like others, or that are missing."""

from minillm.cli.arguments import argument, run_argument
from minillm.data.lines import read_lines
from minillm.data.word_sets import read_analogies, read_scored_pairs
from minillm.errors import InputError
from minillm.metrics import analogy_accuracy, cosines, similarity_correlation
from minillm.option import option
from minillm.runs.load import load
from minillm.runs.run import Run


def similar(
    run_folder: str = run_argument("a run of word2vec, bert or encoder"),
    words: list[str] = argument("one word or two, or texts", "WORD", ()),
    set: str | None = option(None, "pairs of words with scores", "FILE"),  # noqa: A002
    among: str | None = option(
        None, "lines to compare one text with, - for standard input", "FILE"
    ),
    count: int = option(10, "print N words or lines", "N", least=1, most=10**6),
) -> int:
    """Find the words most similar to a word, or the texts most similar to a text.

    With word vectors: print the words closest to a word, with their cosines, or the cosine of two
    words.  With --set, print the rank correlation (Spearman) of the cosines and human judgements of
    pairs of words.  With a run of bert or encoder: print the cosine of two texts, or the lines of a
    file that are closest to one text.

    examples:
      minillm similar runs/vectors class
      minillm similar runs/vectors class function
      minillm similar runs/vectors --set wordsim353.tsv
            one pair per line: word, word and score, separated by tabs, commas or spaces
      minillm similar runs/bert "how a loop ends" --among sentences.txt
      minillm similar runs/bert "how a loop ends" "the break statement"
    """
    run = load(run_folder)
    if run.has("embed"):
        if set or len(words) != (1 if among else 2):
            raise InputError(
                f"similar: a run of {run.kind.name} compares two texts, or one with --among FILE"
            )
        return _compare_texts(run, words, among, count)
    if among:
        raise InputError(f"a run of {run.kind.name} compares words, not texts", "among")
    if bool(set) == bool(words) or len(words) > 2:
        raise InputError(
            f"similar: expected one word or two, or --set FILE; found {len(words)} words"
        )
    if set:
        pairs = read_scored_pairs(set)
        correlation, used = similarity_correlation(run.vectors, pairs)
        unknown = f"{len(pairs) - used} have an unknown word"
        print(f"spearman {correlation:.4f} on {used} of {len(pairs)} pairs ({unknown})")
    elif len(words) == 2:
        print(f"{run.vectors.similarity(*words):.4f}")
    else:
        _print_scored(run.vectors.most_similar(words[0], topn=count))
    return 0


def _compare_texts(run: Run, texts: list[str], among: str | None, count: int) -> int:
    """Print the lines that are most similar to a text, or the cosine of two texts."""
    if among is None:
        one, other = run.embed(texts)
        print(f"{cosines(one, other[None])[0]:.4f}")
        return 0
    lines = list(dict.fromkeys(line for line, _ in read_lines(among) if line.strip()))
    similarities = cosines(run.embed(texts)[0], run.embed(lines))
    best = (-similarities).argsort(kind="stable")[:count]
    _print_scored([(lines[at], float(similarities[at])) for at in best])
    return 0


def analogy(
    run_folder: str = run_argument("a run of word2vec"),
    words: list[str] = argument("three words: a b c", "WORD", ()),
    set: str | None = option(None, "questions with answers", "FILE"),  # noqa: A002
    count: int = option(10, "print N words", "N", least=1, most=10**6),
) -> int:
    """Answer "a is to b as c is to what?" with word vectors.

    Print the words closest to b - a + c.  With --set, measure the accuracy of the closest word on a
    file of questions, section by section.

    examples:
      minillm analogy runs/vectors man king woman
      minillm analogy runs/vectors --set questions-words.txt
            lines of four words; a line ": name" begins a section
    """
    if len(words) != (0 if set else 3):
        raise InputError(f"analogy: expected three words, or --set FILE; found {len(words)} words")
    vectors = load(run_folder).vectors
    if set is None:
        a, b, c = words
        _print_scored(vectors.analogy(a, b, c, count))
        return 0
    results = analogy_accuracy(vectors, read_analogies(set))
    right, known, total = (sum(column) for column in zip(*results.values(), strict=True))
    results["all"] = right, known, total
    width = max(map(len, results))
    for name, (right, known, total) in results.items():
        percent = f"{100 * right / known:6.2f} %" if known else "       - "
        print(f"{name:{width}}{percent}  {right} of {known} ({total - known} with unknown words)")
    return 0


def fill(
    run_folder: str = run_argument("a run of bert or encoder"),
    text: str = argument("a text with [MASK] where a word is missing", "TEXT"),
    top: int = option(5, "print K tokens for each gap", "K", least=1, most=10**6),
) -> int:
    """Fill in the gaps of a text.

    Print the most probable tokens for each [MASK], with their probabilities, by a run of bert or
    encoder.  Some encoders write <mask>.  Several gaps are filled in independently, with a
    paragraph of tokens per gap.  A token that begins with ## continues a word.

    examples:
      minillm fill runs/bert "the [MASK] statement"
      minillm fill runs/bert "import [MASK], [MASK]" --top 3
      minillm fill runs/roberta "the <mask> statement"
    """
    for number, gap in enumerate(load(run_folder).fill(text, top)):
        if number:
            print()
        _print_scored(gap)
    return 0


def _print_scored(words: list[tuple[str, float]]) -> None:
    """Print a line for each word or text, with its score before it."""
    for word, score in words:
        print(f"{score:7.4f}  {word}")
