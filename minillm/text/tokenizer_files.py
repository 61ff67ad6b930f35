"""Files of tokenizers: Hugging Face's, GPT-2's, BERT's, and ours.

    vocabulary.json             of one of our runs
    tokenizer.json              Hugging Face's, which says all; the next ones are for older folders
    vocab.json and merges.txt   GPT-2's: token to id, and a merge a line in the order of their ranks
    vocab.txt                   BERT's: a piece a line
    tokenizer_config.json       next to the others: which tokens open and close a text, and whether
                                BERT's pieces are in lower case

All but the first are read as :class:`minillm.text.published.PublishedTokenizer`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minillm.data.entries import Entries, in_file
from minillm.data.files import read_json
from minillm.data.lines import read_lines
from minillm.errors import InputError
from minillm.text.byte_pairs import BytePairs
from minillm.text.published import PublishedTokenizer
from minillm.text.tokenizer_json import added_tokens, byte_pairs, of_ours, template, word_pieces
from minillm.text.units import vocabulary_from_dict
from minillm.text.vocabulary import Vocabulary, flag
from minillm.text.word_pieces import SPECIALS, WordPieces

_FORMAT_VERSION = 1  # of a run's files
_FILES = ("vocabulary.json", "tokenizer.json", "vocab.json", "vocab.txt")
_USUAL = ("<|endoftext|>", "<s>", "<pad>", "</s>", "<unk>", "<mask>")  # GPT-2's, and RoBERTa's


def load_tokenizer(path: str | Path) -> Vocabulary:
    """The tokenizer in a file, or in a folder that has one of the files listed above.

    >>> ids = load_tokenizer("gpt2/").encode("text")  # int32 (T,)  # doctest: +SKIP

    InputError, one line with the file, if a file is missing or damaged, or describes a tokenizer
    that the package tokenizers does not have.
    """
    path = Path(path)
    if path.is_dir():
        files = [path / name for name in _FILES if (path / name).exists()]
        if not files:
            found = "none of them"
            for one in path.glob("*.model"):
                # AutoTokenizer makes byte pairs of a Llama's unigram model, which have other ids.
                auto = one.name != "tokenizer.model"
                found = (
                    f"{one.name}: save it as tokenizer.json, with save_pretrained of transformers' "
                    + ("AutoTokenizer" if auto else "PreTrainedTokenizerFast")
                )
            raise InputError(f"{path}: expected one of {', '.join(_FILES)}, found {found}")
        path = files[0]
    if path.name == "merges.txt":
        path = path.with_name("vocab.json")
    file = path.with_name("tokenizer_config.json")
    config = Entries(file, read_json(file) if file.exists() else {})
    ends = {}
    for name in ("bos", "eos"):
        token = config.values.get(f"{name}_token")
        token = token.get("content") if isinstance(token, dict) else token
        ends[name] = None if token is None else Entries(file, {"token": token}).text("token")
    if path.suffix == ".txt":
        values = _word_pieces(path, config)
    else:
        values = read_json(path)
        with in_file(path):
            if isinstance(values.get("unit"), str):
                if values.get("format_version") != _FORMAT_VERSION:
                    raise Entries(path, values).wrong("format_version", str(_FORMAT_VERSION))
                return vocabulary_from_dict(values)
        if "model" not in values:
            values = _byte_pairs(path, values)
    with in_file(path):
        return PublishedTokenizer(values, ends["bos"], ends["eos"])


def _byte_pairs(path: Path, ids: Mapping[str, int]) -> dict[str, Any]:
    """Byte pairs in vocab.json and merges.txt."""
    lines = (line for line, _ in read_lines(path.with_name("merges.txt"), regular=True))
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    made = {*map("".join, merges)}
    special = {text: ids[text] for text in _USUAL if text in ids and text not in made}
    return byte_pairs(ids, merges, added_tokens(special))


def _word_pieces(path: Path, config: Entries) -> dict[str, Any]:
    """BERT's pieces of words in vocab.txt; without a configuration, they are in lower case."""
    ids = {line: number for number, (line, _) in enumerate(read_lines(path, regular=True))}
    with in_file(config.path):
        options = {
            "lower_case": flag(config.values, "do_lower_case", True),
            "strip_accents": flag(config.values, "strip_accents", None),
            "split_ideographs": flag(config.values, "tokenize_chinese_chars", True),
        }
    special = {text: ids[text] for text in SPECIALS if text in ids}
    frame = template(ids, "[CLS]", "[SEP]") if {"[CLS]", "[SEP]"} <= ids.keys() else None
    return word_pieces(ids, added_tokens(special), template=frame, **options)


def tokenizer_files(tokenizer: Vocabulary) -> dict[str, bytes]:
    """The contents of the files that other programs read, by name.

    They are tokenizer.json, and of our pieces of words tokenizer_config.json with their names.
    """
    if isinstance(tokenizer, PublishedTokenizer):
        values = tokenizer.values
    else:
        assert isinstance(tokenizer, BytePairs | WordPieces)
        values = {"version": "1.0", "truncation": None, "padding": None, **of_ours(tokenizer)}
    files = {"tokenizer.json": values}
    if isinstance(tokenizer, WordPieces):
        names = {f"{text.strip('[]').lower()}_token": text for text in SPECIALS}
        files["tokenizer_config.json"] = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    return {
        name: (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()
        for name, content in files.items()
    }
