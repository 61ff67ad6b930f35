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
    from minillm.cli.runs import settle
    from minillm.data.registry import absolute
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
    from minillm.formats.arpa import read_arpa
    from minillm.models.ngram import NGram, NGramConfig
    from minillm.training.ngram import Trained, save_ngram

    vocabulary, params = read_arpa(file)
    order = sum(name.startswith("word.") for name in params)
    sizes = tuple(len(params[f"word.{n}"]) for n in range(1, order + 1))
    config = NGramConfig(
        vocabulary=len(vocabulary),
        order=order,
        line_end=vocabulary.sentence_end,
        unknown=vocabulary.unknown,
        sizes=sizes,
    )
    save_ngram(folder, Trained(NGram(config, params), vocabulary, 0), {}, data)
    print(", ".join(f"{size:,} {n}-grams" for n, size in enumerate(sizes, start=1)))


def _import_vectors(file: str, folder: Any, data: dict[str, Any]) -> None:
    import numpy as np

    from minillm.formats.word2vec import read_vectors
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
