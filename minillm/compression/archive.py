"""The archive: a header that names what the decoder needs, and the bytes of the range coder.

    4  "mini"              8  digest of the model, and of the counts it is mixed with
    1  format              8  digest of its tokenizer
    1  kernels             8  digest of the file
    1  options             8  length of the file, in bytes
    3  version of minillm  4  check sum of everything else: damage is found before decoding

Then the range coder's bytes: the number of pieces, the lengths of each, their tokens and bytes.
"""

import hashlib
import re
import struct
import zlib
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import minillm
from minillm._kernels import INSTRUCTION_SETS, kernels_info, use_kernels
from minillm.compression.pieces import Bytes, Piece, cut, join
from minillm.compression.predictions import SHARED, Predictions
from minillm.compression.range_coder import MOST, Decoder, Encoder
from minillm.data.shards import digest_of
from minillm.errors import InputError
from minillm.runs.run import Run
from minillm.training.progress import progress_bar

HEADER = struct.Struct("<4sBBB3s8s8s8sQ")
MAGIC, FORMAT = b"mini", 1
KERNELS: list[tuple[str, ...]] = [(), SHARED, *((name,) for name in (*INSTRUCTION_SETS, "numpy"))]
CHECKED = 1000  # tokens that are decoded again after encoding


class Compressed(NamedTuple):
    """An archive, and where its bits went."""

    data: bytes
    pieces: list[Piece]
    bits: list[NDArray[np.float64]]  # of the tokens of each piece


def compress(
    run: Run, data: bytes, adapt: bool = False, mix: bool = False, quiet: bool = True
) -> Compressed:
    """Compress a file with a language model; :func:`decompress` gives it back."""
    check_options(run, adapt=adapt, mix=mix)
    pieces, encoder = cut(run.tokenizer, data), Encoder()
    _encode_length(encoder, len(pieces))
    for piece in pieces:
        _encode_length(encoder, len(piece.ids))
        _encode_length(encoder, len(piece.rest))
    T = sum(len(piece.ids) for piece in pieces)
    predictions, counts, bits = Predictions(run, T, adapt, mix), Bytes(), []
    with progress_bar(None, "encoding", T, unit=" tokens", quiet=quiet) as bar:
        row = predictions.after(predictions.first)[-1:] if T else None
        for piece in pieces:
            costs = []
            for at in range(0, len(piece.ids), predictions.ahead):
                ids = piece.ids[at : at + predictions.ahead]
                rows = np.concatenate([row, predictions.after(ids)])
                ends = np.cumsum(rows[:-1], axis=1)[np.arange(len(ids)), ids].tolist()
                sizes = rows[np.arange(len(ids)), ids].tolist()
                for end, size in zip(ends, sizes, strict=True):
                    encoder.encode(end - size, end, MOST)
                row, costs = rows[-1:], costs + sizes
                bar.update(len(ids))
            bits.append(np.log2(MOST / np.array(costs, np.float64)))
            for byte in piece.rest:
                counts.encode(encoder, byte)
    body = encoder.finish()
    digests = _digests(run, predictions)
    version = bytes(int(n) for n in re.findall(r"\d+", minillm.__version__)[:3])
    options, kernels = adapt + 2 * mix, KERNELS.index(predictions.kernels)
    head = MAGIC, FORMAT, kernels, options, version, *digests, _digest(data), len(data)
    archive = HEADER.pack(*head) + body
    known = [piece.ids for piece in pieces]
    found = [piece.ids for piece in _decoded(run, body, adapt, mix, CHECKED, quiet=True)]
    first = slice(0, CHECKED)
    if T and not np.array_equal(np.concatenate(known)[first], np.concatenate(found)[first]):
        raise InputError(f"the steps of the model on {kernels_info()['kernels']} do not repeat")
    return Compressed(archive + struct.pack("<I", zlib.crc32(archive)), pieces, bits)


def decompress(run: Run, archive: bytes, name: str = "archive", quiet: bool = True) -> bytes:
    """The file in an archive.  InputError, with ``name``, if this run or machine cannot read it."""
    if archive[:4] != MAGIC:
        raise InputError(f"{name}: expected a file that minillm compress wrote")
    if len(archive) < HEADER.size + 4 or zlib.crc32(archive[:-4]) != _number(archive[-4:]):
        raise InputError(f"{name}: it is damaged, or has been cut short")
    _, form, kernels, options, version, *digests, of_file, size = HEADER.unpack_from(archive)
    written = f"minillm {'.'.join(map(str, version))}"
    if form != FORMAT:
        raise InputError(f"{name}: expected format {FORMAT}, found {form}, of {written}")
    adapt, mix = bool(options & 1), bool(options & 2)
    check_options(run, adapt=adapt, mix=mix)
    names = KERNELS[kernels]
    info = kernels_info()
    able = [info["kernels"], *info["available"]]
    chosen = next((kernel for kernel in able if kernel in names), None)
    if names and chosen is None:
        raise InputError(
            f"{name}: it can be read with the kernels {' or '.join(names)}; this machine has "
            f"{', '.join(info['available'])}"
        )
    with use_kernels(chosen) if chosen else nullcontext():
        for found, own, what in zip(
            digests, _digests(run, Predictions(run, 0, mix=mix)), ("model", "tokenizer"), strict=True
        ):
            if found != own:
                raise InputError(f"{name}: it was compressed with another {what} than {run.path}")
        pieces = _decoded(run, archive[HEADER.size : -4], adapt, mix, quiet=quiet)
    data = join(run.tokenizer, pieces)
    if (len(data), _digest(data)) != (size, of_file):
        raise InputError(
            f"{name}: the model predicts other bits here than where it was compressed, by {written}"
        )
    return data


def check_options(run: Run, **options: bool) -> None:
    """InputError unless a run writes text, and can do what the options ask for."""
    if not run.has("write"):
        raise run.lacks(["ngram, lm, gpt", "another language model"])
    for name, given in options.items():
        if given and name not in run.kind.eval_options:
            raise InputError(f"expected a run of a network, found {run.kind.name!r}", name)
    if options["adapt"] and run.is_quantised:
        raise InputError("expected weights in floats, found quantised ones", "adapt")


def _decoded(
    run: Run, body: bytes, adapt: bool, mix: bool, most: int | None = None, quiet: bool = False
) -> list[Piece]:
    """The pieces, or those of the first ``most`` tokens."""
    decoder = Decoder(body)
    lengths = [
        (_decode_length(decoder), _decode_length(decoder)) for _ in range(_decode_length(decoder))
    ]
    T = sum(tokens for tokens, _ in lengths)
    predictions, counts, pieces, known = Predictions(run, T, adapt, mix), Bytes(), [], 0
    with progress_bar(None, "decoding", T, unit=" tokens", quiet=quiet) as bar:
        last = predictions.first
        for tokens, rest in lengths:
            ids = np.zeros(tokens, np.int32)
            for at in range(tokens):
                if known == most:
                    return [*pieces, Piece(ids[:at], b"")]
                ends = np.cumsum(predictions.after(last)[-1])
                token = int(np.searchsorted(ends, decoder.find(MOST), side="right"))
                decoder.decode(int(ends[token - 1]) if token else 0, int(ends[token]), MOST)
                ids[at], last, known = token, np.array([token]), known + 1
                bar.update()
            pieces.append(Piece(ids, bytes(counts.decode(decoder) for _ in range(rest))))
    return pieces


def _encode_length(encoder: Encoder, length: int) -> None:
    """Encode a length in about 2 log2(length) bits: that of its binary form, and this (Elias)."""
    bits = f"{length + 1:b}"
    for bit in [*("1" * (len(bits) - 1)), "0", *bits[1:]]:
        encoder.encode(int(bit), int(bit) + 1, 2)


def _decode_length(decoder: Decoder) -> int:
    def bit() -> int:
        found = decoder.find(2)
        decoder.decode(found, found + 1, 2)
        return found

    more, number = 0, 1
    while bit():
        more += 1
    for _ in range(more):
        number = 2 * number + bit()
    return number - 1


def _digests(run: Run, predictions: Predictions) -> tuple[bytes, bytes]:
    """The digests of a run's model and tokenizer."""
    parts: list[Any] = [run.fingerprint(), repr(run.config)]
    if predictions.mixing and predictions.mixing.counted:
        counted = predictions.mixing.counted.params.values()
        parts += [hashlib.sha256(array.data).hexdigest() for array in counted]
    return _digest("\n".join(parts).encode()), _digest(digest_of(run.tokenizer.to_dict()).encode())


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:8]


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
