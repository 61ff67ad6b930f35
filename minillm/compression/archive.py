"""The archive: a header that names what the decoder needs, the bytes outside the text, the text.

4  "mini"                    8  digest of the tokenizer
1  format                    8  digest of the file
1  kernels                   8  length of the file
1  options                   4  length of the next part
3  version of minillm        -  lengths of all pieces and the bytes after their tokens, deflated
8  digest of the model,      -  the tokens, from the range coder
   and of counted n-grams    4  check sum: damage is found before decoding
"""

import hashlib
import re
import struct
import zlib
from contextlib import nullcontext
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import minillm
from minillm._kernels import INSTRUCTION_SETS, kernels_info, use_kernels
from minillm.compression.pieces import Piece, cut
from minillm.compression.predictions import SHARED, Predictions
from minillm.compression.range_coder import MOST, Decoder, Encoder
from minillm.data.shards import digest_of
from minillm.errors import InputError
from minillm.layers.types import Ids
from minillm.runs.kinds.ngram import MixtureReader
from minillm.runs.run import Run, kinds_with
from minillm.training.progress import progress_bar

HEADER, MAGIC = struct.Struct("<5sBB3s8s8s8sQI"), b"mini\1"
KERNELS: list[tuple[str, ...]] = [(), SHARED, *((name,) for name in (*INSTRUCTION_SETS, "numpy"))]
CHECKED = 1000  # tokens that are decoded again after encoding


class Compressed(NamedTuple):
    """An archive, its pieces, and the bits of each token: (T,)."""

    data: bytes
    pieces: list[Piece]
    bits: NDArray[np.float64]


def compress(
    run: Run, data: bytes, adapt: bool = False, mix: bool = False, quiet: bool = True
) -> Compressed:
    """Compress a file with a language model; :func:`decompress` gives it back."""
    mixture, pieces = _mixture(run, adapt, mix), cut(run.tokenizer, data)
    ids = np.concatenate([ids for ids, _ in pieces])
    made, encoder, sizes = Predictions(run, len(ids), adapt, mixture), Encoder(), list[int]()
    row = made.after(made.first)[-1:] if len(ids) else None
    with progress_bar(None, "encoding", len(ids), unit=" tokens", quiet=quiet) as bar:
        for at in range(0, len(ids), made.ahead):
            some = ids[at : at + made.ahead]
            rows = np.concatenate([row, made.after(some)])
            places = np.arange(len(some)), some
            ends, sizes[at:] = rows.cumsum(axis=1)[places].tolist(), rows[places].tolist()
            for end, size in zip(ends, sizes[at:], strict=True):
                encoder.encode(end - size, end, MOST)
            row = rows[-1:]
            bar.update(len(some))
    body = encoder.finish()
    again = _decoded(Predictions(run, len(ids), adapt, mixture), body, min(CHECKED, len(ids)))
    if not np.array_equal(again, ids[:CHECKED]):
        raise InputError("expected steps with the bits of the encoder, found others")
    lengths = np.array([len(pieces), *chain(*([len(a), len(b)] for a, b in pieces))], "<u4")
    rest = zlib.compress(lengths.tobytes() + b"".join(rest for _, rest in pieces), 9, wbits=-15)
    version = bytes(int(number) for number in re.findall(r"\d+", minillm.__version__)[:3])
    names = MAGIC, KERNELS.index(made.kernels), adapt + 2 * mix, version, *_digests(run, mixture)
    archive = HEADER.pack(*names, _digest(data), len(data), len(rest)) + rest + body
    bits = np.log2(MOST / np.array(sizes, np.float64))
    return Compressed(archive + struct.pack("<I", zlib.crc32(archive)), pieces, bits)


def decompress(run: Run, archive: bytes, name: str = "archive", quiet: bool = True) -> bytes:
    """The file in an archive.  InputError, with ``name``, if this run or machine cannot read it."""
    if not archive.startswith(MAGIC):
        raise InputError(f"{name}: expected an archive that minillm compress wrote, found none")
    if zlib.crc32(archive[:-4]) != int.from_bytes(archive[-4:], "little"):
        raise InputError(f"{name}: it is damaged, or has been cut short")
    try:
        _, kernels, options, version, *digests, of_file, size, end = HEADER.unpack_from(archive)
        rest = zlib.decompress(archive[HEADER.size :][:end], wbits=-15)
        at = 4 + 8 * int.from_bytes(rest[:4], "little")
        lengths = np.frombuffer(rest[4:at], "<u4").reshape(-1, 2).tolist()
        named, info, adapt = KERNELS[kernels], kernels_info(), bool(options & 1)
    except (struct.error, zlib.error, ValueError, IndexError) as error:
        raise InputError(f"{name}: it is damaged: {error}") from None
    mixture = _mixture(run, adapt, bool(options & 2))
    own = _digests(run, mixture)
    if own != tuple(digests):
        what = "model" if own[0] != digests[0] else "tokenizer"
        raise InputError(f"{name}: expected the {what} that wrote it, found {run.path}")
    able = [kernel for kernel in (info["kernels"], *info["available"]) if kernel in named]
    if named and not able:
        raise InputError(
            f"{name}: expected kernels {' or '.join(named)}, found {', '.join(info['available'])}"
        )
    T, parts = sum(tokens for tokens, _ in lengths), list[bytes]()
    with use_kernels(able[0]) if able else nullcontext():
        body, made = archive[HEADER.size + end : -4], Predictions(run, T, adapt, mixture)
        ids = iter(np.minimum(_decoded(made, body, T, quiet), len(run.tokenizer) - 1).tolist())
    for tokens, others in lengths:
        parts += run.tokenizer.decode(islice(ids, tokens)).encode(), rest[at : at + others]
        at += others
    data = b"".join(parts)
    if (_digest(data), len(data)) != (of_file, size):
        raise InputError(
            f"{name}: expected the bits of the model where it was written, found others: it was "
            f"written by minillm {'.'.join(map(str, version))}"
        )
    return data


def _decoded(made: Predictions, body: bytes, T: int, quiet: bool = True) -> Ids:
    """The first T tokens."""
    decoder, last, ids = Decoder(body), made.first, np.zeros(T, np.int32)
    with progress_bar(None, "decoding", T, unit=" tokens", quiet=quiet) as bar:
        for at in range(T):
            ends = made.after(last)[-1].cumsum()
            ids[at] = token = int(ends.searchsorted(decoder.find(MOST), side="right"))
            decoder.decode(int(ends[token - 1]) if token else 0, int(ends[token]), MOST)
            last = ids[at : at + 1]
            bar.update()
    return ids


def _mixture(run: Run, adapt: bool, mix: bool) -> MixtureReader | None:
    """The mixture of the run.  InputError unless it predicts text, and can do what is asked for."""
    if not run.has("write"):
        raise run.lacks(kinds_with("write"))
    run.eval_options({name: True for name, asked in (("adapt", adapt), ("mix", mix)) if asked})
    if adapt and run.is_quantised:
        raise InputError("expected weights in floats, found quantised ones", "adapt")
    return MixtureReader(run) if mix else None


def _digests(run: Run, mixture: MixtureReader | None) -> tuple[bytes, bytes]:
    """The digests of a run's model and tokenizer."""
    counted = mixture.counted.params.values() if mixture and mixture.counted else ()
    arrays = [hashlib.sha256(array.data).hexdigest() for array in counted]
    model = "\n".join([run.fingerprint(), repr(run.config), *arrays])
    return _digest(model.encode()), _digest(digest_of(run.tokenizer.to_dict()).encode())


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:8]
