"""ARPA files: n-gram models as text, in the format that SRILM, KenLM and others share.

    \\data\\
    ngram 1=4
    ngram 2=3

    \\1-grams:
    -99	<s>	-0.30103
    -0.60206	the	-0.30103
    ...
    \\end\\

A line has log10 p(word | context), the n-gram and, unless the n-gram is one of
the longest, log10 of its backoff weight.  ``<s>`` and ``</s>`` are the start and
the end of a sentence, ``<unk>`` or ``<UNK>`` is the unknown word.

White space separates the fields, so it cannot be written as a token.  A line's end
is written as ``</s>``, all other white space by its code point: a space is
``<U+0020>``.
"""

import gzip
import re
from array import array
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minillm.data.compressed import decompressed
from minillm.data.entries import in_file
from minillm.data.files import bounded_lines, reading, replacing, seekable
from minillm.errors import InputError, short
from minillm.formats.format import Contents, Format
from minillm.models.ngram import NGram, NGramConfig, find_children
from minillm.text import Characters, Vocabulary, Words, split_words

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
_UPPER = b"<UNK>"  # KenLM reads it as <unk>
IMPOSSIBLE = -99.0
LONGEST = 20  # words in an n-gram
LARGEST_BACKOFF = 1e30  # of a float32, with room for sums

_BLOCK = 1 << 16
_SIZE = re.compile(rb"ngram\s+(\d{1,9})\s*=\s*(\d{1,20})")
_NAMES = {chr(k): f"<U+{k:04X}>" for k in range(0x3001) if chr(k).isspace()} | {"\n": END}
_TOKENS = {name: token for token, name in _NAMES.items()}


def write_arpa(path: str | Path, vocabulary: Vocabulary, params: dict[str, NDArray]) -> None:
    """Write an n-gram model, compressed if the file's name ends with .gz.

    params has the names of `models.ngram.NGram`; the id after the last one of the
    vocabulary opens a sentence.  Numbers have 9 digits, enough to read back the
    same float32.
    """
    tokens = [vocabulary.decode([k]) for k in range(len(vocabulary))]
    names = [*(_NAMES.get(token, token) for token in tokens), START]
    if len(set(names)) < len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise InputError(f"{path}: expected distinct tokens, found two to write as {twice}")
    # Other programs require both; a model of characters may have neither.
    absent = [name for name in (UNKNOWN, END) if name not in names]
    order = sum(key.startswith("word.") for key in params)
    # No name and no time in the header of gzip, so that equal models make equal files.
    gzipped = str(path).endswith(".gz")
    with (
        replacing(path) as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) if gzipped else nullcontext(raw) as file,
    ):
        file.write(b"\\data\\\n")
        for n in range(1, order + 1):
            size = len(params[f"word.{n}"]) + (len(absent) if n == 1 else 0)
            file.write(f"ngram {n}={size}\n".encode())
        for n in range(1, order + 1):
            file.write(f"\n\\{n}-grams:\n".encode())
            if n == 1:
                file.write("".join(f"{IMPOSSIBLE:g}\t{name}\n" for name in absent).encode())
            for lines in _sections(names, params, n, order):
                file.write(lines.encode("utf-8", "surrogatepass"))
        file.write(b"\n\\end\\\n")


def _sections(names: list[str], params: dict[str, NDArray], n: int, order: int) -> Iterator[str]:
    """The lines of the n-grams, a block of lines at a time."""
    words = np.array(names, object)
    line = "%.9g\t" + " ".join(["%s"] * n) + ("\t%.9g\n" if n < order else "\n")
    for begin in range(0, len(params[f"word.{n}"]), _BLOCK):
        # The dtype of first.n, because searchsorted would convert that array otherwise.
        index = np.arange(begin, min(begin + _BLOCK, len(params[f"word.{n}"])), dtype=np.int32)
        fields = [params[f"log_p.{n}"][index].tolist()]
        if n < order:
            fields.append(params[f"backoff.{n}"][index].tolist())
        for length in range(n, 0, -1):  # from the last word to the first
            fields.insert(1, words[params[f"word.{length}"][index]].tolist())
            # The context is the n-gram, one word shorter, whose children these are.
            index = np.searchsorted(params[f"first.{length}"], index, "right").astype(np.int32) - 1
        yield "".join(map(line.__mod__, zip(*fields, strict=True)))


# --- reading -----------------------------------------------------------------


def read_arpa(path: str | Path) -> tuple[Vocabulary, dict[str, NDArray]]:
    """Read an n-gram model, compressed or not: -> vocabulary, params, as for `write_arpa`.

    A file with white space written as a code point is a model of characters, any other
    one of words.  InputError if the file is not in the format.
    """
    lines = _Lines(path)
    sizes = _header(lines)
    tokens, ids, params = _unigrams(lines, sizes)
    for n in range(2, len(sizes) + 1):
        _longer(lines, n, sizes, ids, params)
    if lines.next() != b"\\end\\":
        raise lines.wrong("\\end\\")
    if tokens[0] != UNKNOWN and all(len(token) == 1 for token in tokens):
        return Characters(tokens), params
    if tokens[0] != UNKNOWN or "\n" not in tokens:
        raise InputError(f"{path}: expected words and {END}, or characters, found {short(tokens)}")
    # Only the tokens show how the text was split: by our rules if each of them is one word.
    ours = all(split_words(token) == [token] for token in tokens)
    return Words(tokens, pretokenised=not ours), params


def _lines_of(path: str | Path) -> Iterator[bytes]:
    name = str(path)
    with reading(path) as raw, decompressed(seekable(raw, name), name) as file:
        yield from bounded_lines(file, name)


class _Lines:
    """The lines of a file that are not blank, numbered, without surrounding white space."""

    def __init__(self, path: str | Path):
        self.path, self.number, self.line, self._lines = path, 0, b"", _lines_of(path)

    def next(self) -> bytes:
        """The next line; InputError if there is none."""
        for line in self._lines:
            self.number += 1
            self.line = line.strip()
            if self.line:
                return self.line
        raise InputError(f"{self.path}: expected \\end\\, found the end after line {self.number}")

    def wrong(self, expected: str) -> InputError:
        """The error for the current line."""
        found = short(self.line.decode("utf-8", "replace"))
        return InputError(f"{self.path}, line {self.number}: expected {expected}, found {found}")


def _header(lines: _Lines) -> list[int]:
    """The number of n-grams of each length; the last line read is \\1-grams:."""
    if lines.next() != b"\\data\\":
        raise lines.wrong("\\data\\ (is it an ARPA file?)")
    sizes: list[int] = []
    while not lines.next().startswith(b"\\"):
        match, n = _SIZE.fullmatch(lines.line), len(sizes) + 1
        if not match or int(match[1]) != n or n > LONGEST or int(match[2]) >= 2**31:
            raise lines.wrong(f"ngram {n}=a number below 2**31, up to {LONGEST}-grams")
        sizes.append(int(match[2]))
    if not sizes or not sizes[0]:
        raise lines.wrong("ngram 1=a number above 0 before it")
    return sizes


def _entries(lines: _Lines, n: int, sizes: list[int]):
    """The n-grams in the file's order: -> words, log_p, backoff."""
    if n > 1:
        lines.next()
    if lines.line != f"\\{n}-grams:".encode():
        raise lines.wrong(f"\\{n}-grams:")
    words: list[list[bytes]] = []
    # The arrays grow with the lines, so a damaged size takes no memory.
    log_p, backoff = array("d"), array("d")
    most = n + 1 if n == len(sizes) else n + 2
    for _ in range(sizes[n - 1]):
        fields = lines.next().split()
        try:
            log_p.append(float(fields[0]))
            backoff.append(float(fields[n + 1]) if len(fields) == n + 2 else 0.0)
            right = log_p[-1] <= 0 and abs(backoff[-1]) <= LARGEST_BACKOFF
        except ValueError:
            right = False
        if not right or not n + 1 <= len(fields) <= most:
            raise lines.wrong(
                f"{sizes[n - 1]} {n}-grams: log10 p, which is at most 0, words: {n}"
                + (" and perhaps a finite backoff" if most > n + 1 else "")
            )
        words.append(fields[1 : n + 1])
    return words, np.maximum(np.array(log_p), IMPOSSIBLE), np.array(backoff)


def _unigrams(lines: _Lines, sizes: list[int]):
    """-> the tokens in the order of their ids, the id of each name, params of length 1.

    The unknown word has id 0; characters are sorted, and none of them is unknown.
    """
    words, log_p, backoff = _entries(lines, 1, sizes)
    known: dict[str, int] = {}
    for k, (name,) in enumerate(words):
        with in_file(lines.path):
            text = UNKNOWN if name == _UPPER else name.decode()
        if text in known:
            raise InputError(f"{lines.path}: expected each 1-gram once, found {short(text)} again")
        known[text] = k
    names = [name for name in known if name not in (START, UNKNOWN)]
    tokens = {name: _TOKENS.get(name, name) for name in names}
    if any(token.isspace() and token != "\n" for token in tokens.values()):
        names.sort(key=lambda name: tokens[name])
    else:
        names.insert(0, UNKNOWN)
    names.append(START)
    row = np.array([known.get(name, -1) for name in names])
    params = {
        "first.1": np.array([0, len(names)], np.int32),
        "word.1": np.arange(len(names), dtype=np.int32),
        # If a file lacks <unk> or <s>, they are impossible.
        "log_p.1": np.where(row >= 0, log_p[row], IMPOSSIBLE).astype(np.float32),
    }
    if len(sizes) > 1:
        params["backoff.1"] = np.where(row >= 0, backoff[row], 0).astype(np.float32)
    ids = {name.encode(): k for k, name in enumerate(names)}
    if UNKNOWN in names:
        ids[_UPPER] = ids[UNKNOWN.encode()]
    return [tokens.get(name, name) for name in names[:-1]], ids, params


def _longer(
    lines: _Lines, n: int, sizes: list[int], ids: dict[bytes, int], params: dict[str, NDArray]
) -> None:
    """Read the n-grams of length n, sorted by context, then by word, into ``params``."""
    words, log_p, backoff = _entries(lines, n, sizes)
    grams = np.array([[ids.get(word, -1) for word in ngram] for ngram in words], np.int32)
    grams = grams.reshape(-1, n)
    context = np.where((grams < 0).any(axis=1), -1, grams[:, 0]).astype(np.int32)
    for length in range(2, n):
        first, word = params[f"first.{length}"], params[f"word.{length}"]
        context = find_children(first, word, context, grams[:, length - 1].copy())
    order = np.lexsort((grams[:, -1], context))
    context, word = context[order], grams[order, -1]
    wrong = np.diff(context, prepend=-1) == 0
    wrong[1:] &= np.diff(word) == 0
    wrong |= context < 0
    if wrong.any():
        ngram = b" ".join(words[order[int(np.argmax(wrong))]]).decode("utf-8", "replace")
        expected = f"{n}-grams, each once, of words and contexts before them"
        raise InputError(f"{lines.path}: expected {expected}, found {short(ngram)}")
    contexts = np.arange(len(params[f"word.{n - 1}"]) + 1)
    params[f"first.{n}"] = np.searchsorted(context, contexts).astype(np.int32)
    params[f"word.{n}"] = word
    params[f"log_p.{n}"] = log_p[order].astype(np.float32)
    if n < len(sizes):
        params[f"backoff.{n}"] = backoff[order].astype(np.float32)


def read(path: str | Path) -> Contents:
    """The model in a file, and its vocabulary: see :func:`read_arpa`."""
    tokenizer, params = read_arpa(path)
    order = sum(name.startswith("word.") for name in params)
    config = NGramConfig(
        vocabulary=len(tokenizer),
        order=order,
        line_end=tokenizer.sentence_end,
        unknown=tokenizer.unknown,
        sizes=tuple(len(params[f"word.{n}"]) for n in range(1, order + 1)),
    )
    return Contents(NGram(config, params), tokenizer)


def write(contents: Contents, path: str | Path) -> None:
    """See :func:`write_arpa`."""
    write_arpa(path, contents.tokenizer, contents.model.params)


def _recognises(path: Path, head: bytes) -> bool:
    return head.startswith(b"\\data\\") or (".arpa" in path.name and path.is_file())


FORMATS = (
    Format(
        name="arpa",
        models=(NGram,),
        read=read,
        write=write,
        recognises=_recognises,
        default="model.arpa",
        signature="an ARPA file, which begins with \\data\\",
    ),
)
