"""``--augment``: the methods of :mod:`minillm.data.augmentation`, and the runs that they need."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError
from minillm.runs.settings import LabelFacts, option

if TYPE_CHECKING:
    import numpy as np

    from minillm.data.augmentation import Gap, Method, Neighbours, Predict, Translate
    from minillm.data.labelled import Labelled
    from minillm.models.vectors import Vectors
    from minillm.runs.run import Run
    from minillm.text import Vocabulary

# The methods, and what is written behind each.
METHODS = {
    "synonyms": "[=VECTORS]",
    "insertion": "[=VECTORS]",
    "swap": "",
    "deletion": "",
    "fill": "=DIR",
    "back-translation": "=DIR+DIR",
}
STREAM = 1  # the copies have random numbers of their own: the model's stay as they are without
NEAREST = 5  # words from which a similar one is drawn
COMMON = 100  # the most frequent words, most of which are function words: they are not replaced
FILLING = 10  # the most probable words for a gap, from which one is drawn
TEMPERATURE = 0.7  # of sampled translations: varied, but most of them still right
WRITTEN = {"character": 24, "word": 1}  # tokens that are written to find a word; else 8


@dataclass(frozen=True)
class AugmentationSettings:
    """Settings of a model that is trained on labelled texts and changed copies of them."""

    augment: str | None = option(
        None,
        "train on changed copies of the training texts, too: by synonyms and insertion (of words "
        "that are near in the --vectors, or in those of VECTORS, a file or a run of word2vec), "
        "swap, deletion, fill=DIR (of gaps, by a run of bert or one that writes), "
        "back-translation=DIR+DIR (by two runs that translate, there and back); several with "
        "commas between them",
        "NAME[,NAME...]",
        group="the text",
        default_help="",
    )
    augment_share: float = option(
        0.1, "share of a text's words that change", "F", above=0, most=1, group="the text"
    )
    copies: int | None = option(
        None,
        "changed copies of each text",
        "N",
        least=1,
        most=1000,
        group="the text",
        default_help="16 of up to 500 texts, 8 of up to 2,000, else 4",
    )


@dataclass(frozen=True, kw_only=True)
class AugmentationFacts(LabelFacts):
    """What is stored about them."""

    augment: str | None = option(None, "the methods, with the paths of what they need")


def augmented(
    settings: Any, data: dict[str, Any], labelled: "Sequence[Labelled]"
) -> "tuple[list[Labelled], str]":
    """Changed copies of the labelled texts, and a line about them.

    The same settings give the same copies.  ``data`` is told where the methods' runs are.
    """
    import numpy as np
    from tqdm import tqdm

    from minillm.data.augmentation import augment, usual_copies

    named, methods = open_methods(settings, data.get("augment"))
    data["augment"] = joined(named)
    count = settings.copies or max(usual_copies(len(labelled)), len(methods))
    rng = np.random.default_rng([settings.seed, STREAM])
    total = count * len(labelled)
    found = augment(labelled, methods, count, rng)
    copies = list(tqdm(found, "copies", total, unit=" texts", leave=False, disable=None))
    same = sum(copy == labelled[k % len(labelled)] for k, copy in enumerate(copies))
    return copies, (
        f"{total:,} changed copies of the training texts, {count} of each, by "
        f"{', '.join(named)}; {same / total:.0%} of them are as they were"
    )


def open_methods(
    settings: Any, stored: str | None = None
) -> "tuple[dict[str, list[str]], list[Method]]":
    """The methods that are named in the settings, or in what is stored of them.

    InputError where something that they need cannot be opened, or each has not a copy at least.
    """
    named = parse(stored or settings.augment, settings.vectors)
    if settings.copies is not None and settings.copies < len(named):
        raise InputError(
            f"--copies: expected at least {len(named)}, one for each method of --augment, "
            f"found {settings.copies}"
        )
    share = settings.augment_share
    return named, [open_method(name, paths, share) for name, paths in named.items()]


def readable(copies: "Sequence[Labelled]", tokenizer: "Vocabulary") -> "Iterator[Labelled]":
    """The copies that the vocabulary can read: of a model's output it may lack a character."""
    for label, text in copies:
        try:
            if len(tokenizer.encode(text)):
                yield label, text
        except InputError:
            pass


def parse(text: str, vectors: str | None) -> dict[str, list[str]]:
    """The methods that are named, and the absolute paths of what each needs.

    ``vectors`` is the file for those that are named without one.  InputError for anything else.
    """
    named: dict[str, list[str]] = {}
    for part in text.split(","):
        name, equals, paths = part.strip().partition("=")
        if name not in METHODS:
            known = ", ".join(name + needs for name, needs in METHODS.items())
            raise InputError(f"--augment: expected some of {known}; found {part.strip()!r}")
        if name in named:
            raise InputError(f"--augment: expected each method once, found {name} again")
        needs = METHODS[name]
        given = paths.split("+") if equals else []
        if needs == "[=VECTORS]" and not given:
            if vectors is None:
                raise InputError(
                    f"--augment {name}: expected --vectors FILE, or {name}=VECTORS, found neither"
                )
            given = [vectors]
        if len(given) != needs.count("=") + needs.count("+") or not all(given):
            found = repr(paths) if equals else "none"
            raise InputError(f"--augment {name}: expected {name}{needs}, found {found}")
        named[name] = [str(Path(path).resolve()) for path in given]
    return named


def joined(named: dict[str, list[str]]) -> str:
    """The methods and their paths as :func:`parse` reads them."""
    return ",".join(name + "=" * bool(paths) + "+".join(paths) for name, paths in named.items())


def open_method(name: str, paths: Sequence[str], share: float) -> "Method":
    """The method of that name, with what it needs from the given paths."""
    from minillm.data import augmentation
    from minillm.runs.run import load

    if name in ("synonyms", "insertion"):
        similar = neighbours_in(open_vectors(paths[0]))
        return augmentation.each(getattr(augmentation, name), share, similar)
    if name in ("swap", "deletion"):
        return augmentation.each(getattr(augmentation, name), share)
    runs = [load(path) for path in paths]
    if name == "fill":
        predict = predict_with(runs[0])
        return lambda texts, rng: augmentation.fill(texts, share, rng, predict)
    there, back = map(translate_with, runs)
    return lambda texts, rng: augmentation.back_translation(texts, rng, there, back)


# --- what the methods ask ----------------------------------------------------------------------


@cache
def open_vectors(path: str) -> "Vectors":
    """The word vectors of a file in word2vec's format, or of a run of word2vec."""
    from minillm.formats.word2vec import read_vectors
    from minillm.models.vectors import Vectors
    from minillm.runs.run import load

    return load(path).vectors if Path(path).is_dir() else Vectors(*read_vectors(path))


def neighbours_in(vectors: "Vectors") -> "Neighbours":
    """The nearest words to a word, by the cosines of their vectors.

    Files of word vectors begin with the most frequent words.  These are left out, as words to
    replace and as replacements: a question that begins with "who" means another thing with "when".
    """
    common = set(vectors.words[: min(COMMON, len(vectors.words) // 50)])

    @cache
    def neighbours(word: str) -> list[str]:
        if word not in vectors.ids or word in common:
            return []
        near = [other for other, _ in vectors.most_similar(word, 2 * NEAREST)]
        lower = word.lower()
        return [w for w in near if w not in common and w.isalpha() and w.lower() != lower][:NEAREST]

    return neighbours


def predict_with(run: "Run") -> "Predict":
    """Words for gaps by a run of bert, which reads both sides, or by one that writes."""
    if hasattr(run.kind, "fill"):
        return lambda gaps, rng: filled_by_bert(run, gaps, rng)
    if not hasattr(run.kind, "write"):
        raise InputError(
            f"--augment fill: expected a run of bert, or of a model that writes; {run.path} has "
            f"one of {run.kind.name}"
        )
    return lambda gaps, rng: [next_word(run, before, rng) for before, _ in gaps]


def filled_by_bert(run: "Run", gaps: "Sequence[Gap]", rng: "np.random.Generator") -> list[str]:
    """A whole word for each gap, drawn from the most probable ones.

    Of a text that is longer than the model's context, what stands nearest to the gap is read.
    """
    import numpy as np

    from minillm.data.masking import MaskedBatch
    from minillm.data.passages import framed
    from minillm.decoding.sampling import next_probabilities, sample
    from minillm.runs.kinds.bert import batches, check_head, frame_of

    check_head(run)
    tokenizer: Any = run.tokenizer
    whole = np.array([token.isalnum() for token in tokenizer.tokens])  # neither special nor ##piece
    words = [""] * len(gaps)
    if not whole.any():
        return words
    most = run.model.config.context - 2
    rows, places = [], []
    for before, after in gaps:
        left, right = tokenizer.encode(before), tokenizer.encode(after)
        start = max(0, min(len(left) - most // 2, len(left) + 1 + len(right) - most))
        rows.append(np.concatenate([left, [tokenizer.mask], right])[start : start + most])
        places.append(1 + len(left) - start)  # behind [CLS]
    for together in batches([len(row) + 2 for row in rows]):
        texts = framed([[rows[row]] for row in together], *frame_of(tokenizer))
        hidden = np.zeros(texts.ids.shape, bool)
        hidden[np.arange(len(together)), [places[row] for row in together]] = True
        logits = run.model.fill(MaskedBatch(*texts[:3], hidden, texts.ids[hidden]))  # (n, V)
        logits[:, ~whole] = -np.inf
        drawn = sample(next_probabilities(logits, top_k=FILLING), rng)
        for row, id in zip(together, drawn.tolist(), strict=True):
            words[row] = tokenizer.tokens[id]
    return words


def next_word(run: "Run", before: str, rng: "np.random.Generator") -> str:
    """A word that the model writes next; "" if it goes on with the last one, or writes no word.

    Of the text before, a model that knows words alone reads what follows the last unknown one.
    """
    from minillm.data.augmentation import core_of

    tokenizer = run.tokenizer
    if tokenizer.unit == "word":
        words = tokenizer.split(before)
        ids = tokenizer.encode(before).tolist()
        known = next((k for k in range(len(ids), 0, -1) if ids[k - 1] == tokenizer.unknown), 0)
        before = " ".join(words[known:])
    elif tokenizer.unit == "character" and before:
        before += " "
    length, seed = WRITTEN.get(tokenizer.unit, 8), int(rng.integers(2**32))
    try:
        pieces = run.write(before, length, temperature=1.0, top_k=FILLING, seed=seed)
    except InputError:  # a character that the model does not know
        return ""
    text = "".join(pieces)
    if tokenizer.unit == "word":
        return core_of("".join(tokenizer.split(text)[len(tokenizer.split(before)) :]))[1]
    new = text[len(before) :]
    begins = not before or before[-1].isspace() or new[:1].isspace()
    words = new.split()
    return core_of(words[0])[1] if begins and len(words) > 1 else ""


def translate_with(run: "Run") -> "Translate":
    """Sampled translations by a run; "" for a text that it cannot read."""

    def can_read(text: str) -> bool:
        try:
            return 0 < len(run.source.encode(text)) <= run.settings.max_length
        except InputError:  # a character that the model does not know
            return False

    def translate(texts: Sequence[str], rng: "np.random.Generator") -> list[str]:
        outputs = [""] * len(texts)
        able = [number for number, text in enumerate(texts) if can_read(text)]
        asked = [texts[number] for number in able]
        found = run.hypotheses(asked, temperature=TEMPERATURE, rng=rng)
        for number, translations in zip(able, found, strict=True):
            outputs[number] = translations[0].text
        return outputs

    run.hypotheses([])  # whether it can
    return translate
