"""Changed copies of labelled texts, to train on them, too.

    python -m benchmarks.augmentation few.tsv --augment swap,deletion > more.tsv
    minillm train classifier more.tsv --validation held.tsv --out runs/few

The output has the texts of DATA, a file of lines label<TAB>text or a folder, and then their copies.
DATA must not have the texts that are held out: a copy in the training set would be a leak.  The
methods are synonyms=VECTORS, insertion=VECTORS, swap, deletion and back-translation=DIR+DIR, with
word vectors or a run of word2vec, and two runs that translate, there and back.  The same seed makes
the same copies.

A fixed number of copies is made before the training, rather than new ones in each epoch, because

- the vocabulary must have the new words before the model is made;
- a model that translates is slow: it runs once, not once per epoch;
- the copies can be inspected, and any classifier can be trained on them.

The price is variety: after some epochs, the model has seen the copies, too.  So small sets get more
copies (:func:`usual_copies`).
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from minillm.data import augmentation
from minillm.data.augmentation import Generator, Neighbours
from minillm.data.labelled import Labelled, read_labelled
from minillm.errors import InputError, naming_options
from minillm.models.vectors import Vectors
from minillm.runs.kinds.recurrent_classifier import open_vectors
from minillm.runs.load import load
from minillm.runs.run import Run

Translate = Callable[[Sequence[str], Generator], list[str]]  # a text for each text; "": none
Method = Callable[[Sequence[str], Generator], list[str]]  # a changed text for each text

SHARE = 0.1  # of the words of a text: the best in most of Wei and Zou's figure 2

# The methods, and their arguments.
METHODS = {
    "synonyms": "=VECTORS",
    "insertion": "=VECTORS",
    "swap": "",
    "deletion": "",
    "back-translation": "=DIR+DIR",
}
STREAM = 1  # of random numbers, separate from the model's, which augmentation does not change
NEAREST = 5  # candidates for a similar word
COMMON = 100  # the most frequent words, mostly function words, are not replaced
TEMPERATURE = 0.7  # of sampled translations: varied, but mostly correct


def augmented(labelled: Sequence[Labelled], methods: str, seed: int) -> tuple[list[Labelled], str]:
    """Changed copies of the labelled texts, and a line about them.

    The same methods and seed give the same copies.  InputError if a method's run or word vectors
    cannot be opened.
    """
    named = parse(methods)
    opened = [open_method(name, paths) for name, paths in named.items()]
    count = max(usual_copies(len(labelled)), len(opened))
    rng = np.random.default_rng([seed, STREAM])
    total = count * len(labelled)
    made = augment(labelled, opened, count, rng)
    copies = list(made)
    same = sum(copy == labelled[k % len(labelled)] for k, copy in enumerate(copies))
    return copies, (
        f"{total:,} changed copies of the training texts, {count} of each, by "
        f"{', '.join(named)}; {same / total:.0%} of them are unchanged"
    )


def absolute_methods(methods: str, vectors: str | None = None) -> str:
    """The methods with absolute paths, and with ``vectors`` if they name none.

    InputError if they are wrong, or their runs or vectors cannot be opened.
    """
    named = parse(methods, vectors)
    for name, paths in named.items():
        open_method(name, paths)
    return ",".join(name + "=" * bool(paths) + "+".join(paths) for name, paths in named.items())


def parse(methods: str, vectors: str | None = None) -> dict[str, list[str]]:
    """The methods by name, each with the absolute paths of its files or runs.

    ``vectors`` is the default file of word vectors.  InputError for anything else.
    """
    named: dict[str, list[str]] = {}
    for part in methods.split(","):
        name, equals, paths = part.strip().partition("=")
        if name not in METHODS:
            known = ", ".join(name + needs for name, needs in METHODS.items())
            raise InputError(f"--augment: expected some of {known}; found {part.strip()!r}")
        if name in named:
            raise InputError(f"--augment: expected each method once, found {name} again")
        needs = METHODS[name]
        given = paths.split("+") if equals else []
        if needs == "=VECTORS" and not given and vectors is not None:
            given = [vectors]
        if len(given) != needs.count("=") + needs.count("+") or not all(given):
            raise InputError(f"--augment {name}: expected {name}{needs}, found {part.strip()!r}")
        named[name] = [str(Path(path).resolve()) for path in given]
    return named


def open_method(name: str, paths: Sequence[str]) -> Method:
    """The method of that name, with its runs or word vectors opened."""
    if name in ("synonyms", "insertion"):
        similar = neighbours_in(open_vectors(paths[0]))
        return each(getattr(augmentation, name), similar)
    if name in ("swap", "deletion"):
        return each(getattr(augmentation, name))
    there, back = (translate_with(load(path)) for path in paths)
    return lambda texts, rng: back_translation(texts, rng, there, back)


def neighbours_in(vectors: Vectors) -> Neighbours:
    """A function from a word to the nearest words, by the cosines of their vectors.

    Files of word vectors begin with the most frequent words.  These are neither replaced nor used
    as replacements, because a question changes its meaning when "who" becomes "when".
    """
    common = set(vectors.words[: min(COMMON, len(vectors.words) // 50)])

    @cache
    def neighbours(word: str) -> list[str]:
        if word not in vectors.ids or word in common:
            return []
        near = [other for other, _ in vectors.most_similar(word, topn=2 * NEAREST)]
        lower = word.lower()
        return [w for w in near if w not in common and w.isalpha() and w.lower() != lower][:NEAREST]

    return neighbours


def translate_with(run: Run) -> Translate:
    """A function from texts to sampled translations; "" for a text that cannot be read.

    InputError for a run that does not translate.
    """
    run.hypotheses([])  # InputError if it cannot translate

    def can_read(text: str) -> bool:
        try:
            return 0 < len(run.source.encode(text)) <= run.settings.max_source
        except InputError:  # a character that the model does not know
            return False

    def translate(texts: Sequence[str], rng: Generator) -> list[str]:
        outputs = [""] * len(texts)
        able = [number for number, text in enumerate(texts) if can_read(text)]
        results = run.hypotheses(
            [texts[number] for number in able], temperature=TEMPERATURE, rng=rng
        )
        for number, translations in zip(able, results, strict=True):
            outputs[number] = translations[0].text
        return outputs

    return translate


def back_translation(
    texts: Sequence[str], rng: Generator, there: Translate, back: Translate
) -> list[str]:
    """Translate each text by ``there``, and the result by ``back``.

    If either returns "", the text does not change.

    Source: Sennrich, Haddow and Birch (2016), "Improving neural machine translation models with
    monolingual data"; Edunov, Ott, Auli and Grangier (2018), "Understanding back-translation at
    scale", for sampling, because the best output would be the same in every copy.
    """
    again = back(there(texts, rng), rng)
    return [new or text for new, text in zip(again, texts, strict=True)]


def each(change: Callable[..., list[str]], *arguments: Neighbours) -> Method:
    """The method that changes a tenth of the words of each text."""

    def method(texts: Sequence[str], rng: Generator) -> list[str]:
        return [" ".join(change(text.split(), SHARE, rng, *arguments)) for text in texts]

    return method


def augment(
    labelled: Sequence[Labelled], methods: Sequence[Method], copies: int, rng: Generator
) -> Iterator[Labelled]:
    """(label, changed text): the first copy of each text, then the second, and so on.

    Each copy has one method's changes; the methods take turns.

    >>> def shout(texts, rng):
    ...     return [text.upper() for text in texts]
    >>> list(augment([("good", "fine"), ("bad", "dull")], [shout], 1, np.random.default_rng(0)))
    [('good', 'FINE'), ('bad', 'DULL')]
    """
    labels, texts = [label for label, _ in labelled], [text for _, text in labelled]
    for copy in range(copies):
        changed = methods[copy % len(methods)](texts, rng)
        yield from zip(labels, changed, strict=True)


def usual_copies(texts: int) -> int:
    """The number of copies that Wei and Zou recommend for ``texts`` texts (section 3.4)."""
    return 16 if texts <= 500 else 8 if texts <= 2000 else 4


def main() -> None:
    """Print the texts and their copies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--augment", required=True, metavar="NAME[,NAME...]")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with naming_options():
        try:
            labelled = list(read_labelled(args.data))
            copies, note = augmented(labelled, args.augment, args.seed)
        except InputError as error:
            parser.error(str(error))
    for label, text in [*labelled, *copies]:
        print(label, text, sep="\t")
    print(note, file=sys.stderr)


if __name__ == "__main__":
    main()
