"""``minillm import``: a model that another program wrote."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minillm.errors import InputError


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "import",
        help="read an ARPA file, or word vectors in word2vec's format",
        description="""\
Make a folder of an ARPA file (gzip too) or of word vectors in one of word2vec's formats, for
generate, eval, similar, analogy, plot and export.""",
        epilog="""\
examples:
  minillm import model.arpa.gz --out runs/words
  minillm import vectors.bin --out runs/vectors
""",
    )
    parser.add_argument("file", metavar="FILE", help="the file to be read")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to be made")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    parser.set_defaults(run=run, resume=False)


def run(args: argparse.Namespace) -> int:
    """Reads the file, then writes the folder."""
    from minillm.cli.runs import absolute, settle
    from minillm.training import RunFolder

    settle(args, "import", {})
    folder, data = RunFolder(args.out), {"files": [], "imported": absolute(args.file)}
    try:
        with open(args.file, "rb") as file:
            head = file.read(64).lstrip()
    except FileNotFoundError:
        raise InputError(f"{args.file}: there is no such file") from None
    if head.startswith((b"\\data\\", b"\x1f\x8b")) or ".arpa" in Path(args.file).name:
        _import_arpa(args.file, folder, data)
    else:
        _import_vectors(args.file, folder, data)
    print(f"saved in {args.out}")
    return 0


def _import_arpa(file: str, folder: Any, data: dict[str, Any]) -> None:
    from minillm.data.arpa import read_arpa
    from minillm.models.ngram import NGram, NGramConfig
    from minillm.text import Characters, Words
    from minillm.text.words import UNKNOWN
    from minillm.training.ngram import Trained, save_ngram

    tokens, params = read_arpa(file)
    vocabulary: Characters | Words
    if tokens[0] == UNKNOWN:
        if "\n" not in tokens:
            raise InputError(f"{file}: expected </s>, a sentence's end, among the 1-grams")
        vocabulary = Words(tokens, pretokenised=True)
    else:
        try:
            vocabulary = Characters(tokens)
        except ValueError:
            raise InputError(f"{file}: expected words, or single characters alone") from None
    order = sum(name.startswith("word.") for name in params)
    sizes = tuple(len(params[f"word.{n}"]) for n in range(1, order + 1))
    words = isinstance(vocabulary, Words)
    config = NGramConfig(
        vocabulary=len(tokens),
        order=order,
        line_end=tokens.index("\n") if words else None,
        unknown=Words.unknown if words else None,
        sizes=sizes,
    )
    save_ngram(folder, Trained(NGram(config, params), vocabulary, 0), {}, data)
    print(", ".join(f"{size:,} {n}-grams" for n, size in enumerate(sizes, start=1)))


def _import_vectors(file: str, folder: Any, data: dict[str, Any]) -> None:
    import numpy as np

    from minillm.data.vectors import read_vectors
    from minillm.models.word2vec import Word2Vec, Word2VecConfig
    from minillm.training.word2vec import Run, save_vocabulary

    words, vectors = read_vectors(file)
    if len(words) < 2:
        raise InputError(f"{file}: expected 2 words or more, found {len(words)}")
    counts = np.arange(len(words), 0, -1)  # unknown: but the most frequent come first
    model = Word2Vec(Word2VecConfig(len(words), dimension=vectors.shape[1]), counts)
    model.params["vectors"][:] = vectors
    folder.clear()
    save_vocabulary(folder, Run(model, words, counts, True))
    folder.save_model(model.params, {})
    config = {"kind": "word2vec", "model": asdict(model.config), "training": {}, "data": data}
    folder.save_json("config.json", config)
    print(f"{len(words):,} vectors of {vectors.shape[1]} numbers")
