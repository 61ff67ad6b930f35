"""Files come back to the bit from the archives of every language model, or one line says why."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TEXT

import minillm
from minillm._kernels import kernels_info
from minillm.cli import main
from minillm.compression import archive
from minillm.compression.archive import compress, decompress
from minillm.compression.pieces import cut
from minillm.compression.predictions import SHARED, exponential, frequencies
from minillm.compression.range_coder import MOST, Decoder, Encoder
from minillm.errors import InputError
from minillm.runs.conversion import quantise
from minillm.text import build_vocabulary

SAMPLE = (TEXT[:150] + "\n\nthe Zürich\t中文 log\r\n" + TEXT[:60]).encode() + b"\xff\x00the end"
KINDS = ["ngram", "characters", "neural-ngram", "lm", "gru", "rnn", "mamba", "gpt", "byte pairs"]
KINDS += ["llama", "decoder", "quantised"]
EXACT = ("neural-ngram", "lm", "gru", "rnn", "quantised")


@pytest.fixture(scope="session")
def opened(runs, tmp_path_factory):
    """A function that opens a tiny run by its name, once."""
    known = {}

    def open_run(name):
        if name not in known:
            path = tmp_path_factory.mktemp("run") if name == "quantised" else None
            if path:
                sizes = {"width": 64, "heads": 2, "layers": 2, "feed_forward": 64, "context": 24}
                (path / "a.txt").write_text(TEXT)
                minillm.train("llama", path / "f", files=[path / "a.txt"], steps=20, **sizes)
                quantise(path / "f", "Q4_0", path / "q", False)
            known[name] = minillm.load(path / "q" if path else runs(name))
        return known[name]

    return open_run


# --- the coder -----------------------------------------------------------------------------------


@given(st.data(), st.integers(0, 2**32))
def test_symbols_come_back_in_as_many_bits_as_their_entropy(data, seed):
    rng = np.random.default_rng(seed)
    sizes = [data.draw(st.sampled_from([1, 2, 3, 255, MOST - 1])) for _ in range(4)]
    tables = [np.sort(rng.integers(0, size, size=min(size, 20))) + 1 for size in sizes]
    encoder, symbols, bits = Encoder(), [], 0.0
    for _ in range(300):
        which = int(rng.integers(len(tables)))
        ends = np.unique(tables[which]).tolist()
        symbol = min(int(rng.geometric(0.5)) - 1, len(ends) - 1)
        start = ends[symbol - 1] if symbol else 0
        encoder.encode(start, ends[symbol], ends[-1])
        symbols.append((which, symbol))
        bits -= np.log2((ends[symbol] - start) / ends[-1])
    written = encoder.finish()
    decoder = Decoder(written)
    for which, symbol in symbols:
        ends = np.unique(tables[which])
        found = int(np.searchsorted(ends, decoder.find(int(ends[-1])), side="right"))
        assert found == symbol
        decoder.decode(int(ends[found - 1]) if found else 0, int(ends[found]), int(ends[-1]))
    assert 8 * len(written) <= bits + 0.1 * len(symbols) + 16  # parts of 1 in 2^24 lose most


def test_a_carry_runs_through_the_bytes_before():
    """The middle third of the middle third and so on: the last symbol is above 1/2 or below."""
    for last, expected in ((0, "7fff"), (2, "8000")):
        encoder = Encoder()
        for symbol in [*[1] * 16, last]:
            encoder.encode(symbol, symbol + 1, 3)
        assert encoder.finish().hex().startswith(expected)


def test_the_exponential_and_the_frequencies():
    x = np.concatenate([np.linspace(-40, 0, 10001), [-1e-300, -700.0, -np.inf]])
    assert np.allclose(exponential(x)[:-2], np.exp(x[:-2]), rtol=1e-13, atol=0)
    assert exponential(x)[-1] < 2.0**-80
    rng = np.random.default_rng(0)
    for V in (1, 2, 100, 150_000):
        p = exponential(rng.normal(size=(3, V)) * 4 - 40)
        found = frequencies(p)
        assert found.min() >= 1
        assert (found.sum(axis=-1) == MOST).all()
        exact = p / p.sum(axis=-1, keepdims=True)
        lost = (exact * np.log2(exact / (found / MOST))).sum(axis=-1)
        assert lost.max() < (0.01 if V < 100_000 else 0.02)  # of a bit for each symbol


# --- files ----------------------------------------------------------------------------------------


def files():
    """Files of every kind by name: 200."""
    rng = np.random.default_rng(1)
    made = [("empty", b""), ("zero", b"\0"), ("letter", b"t"), ("sample", SAMPLE)]
    every = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    made += [("unicode", every.encode()), ("5 MB", rng.bytes(5_000_000))]
    made += [("random", rng.bytes(3000)), ("bytes", bytes(range(256)) * 3)]
    pieces = [b"the cat ", b"sat  on", b"\r\n", b"\xc3", "é".encode(), b"<unk>", b"<|endoftext|>"]
    pieces += [
        "\U0001f600".encode(),
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b" ",
        b"\t",
        b"\0",
        b"log.\n",
    ]
    while len(made) < 200:
        drawn = rng.integers(0, len(pieces), size=int(rng.integers(1, 60)))
        made.append((f"mixed {len(made)}", b"".join(pieces[k] for k in drawn)))
    return made


FILES = files()


@pytest.mark.parametrize("name", ["characters", "ngram"])
def test_files_come_back(opened, name):
    for _, data in [*FILES[:4], ("", FILES[6][1][:200]), *FILES[8:12]]:
        assert decompress(opened(name), compress(opened(name), data).data) == data


@pytest.mark.deep
@pytest.mark.parametrize("name", ["characters", "byte pairs", "quantised"])
def test_200_files_come_back(opened, name):
    for title, data in FILES:
        if name == "characters" or len(data) < 100_000:
            made = compress(opened(name), data).data
            assert decompress(opened(name), made) == data, title


@pytest.mark.parametrize("unit", ["character", "word", "token", "bpe"])
def test_pieces_are_long_texts_and_the_bytes_between(unit):
    tokenizer = build_vocabulary([TEXT], unit, maximum_size=300 if unit == "bpe" else None)
    for title, data in FILES[:4] + FILES[6:30]:
        pieces = cut(tokenizer, data)
        joined = [tokenizer.decode(ids.tolist()).encode() + rest for ids, rest in pieces]
        assert b"".join(joined) == data, title
    assert tokenizer.decode(cut(tokenizer, TEXT.encode())[-1][0]) == TEXT
    assert len(cut(tokenizer, f"{TEXT}\x00\x01\x02\x03\x04\x05{TEXT}".encode())) <= 4


# --- models and machines --------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("there_and_back", [SHARED, SHARED[::-1], ("baseline", "baseline")])
def test_other_kernels_and_threads_decode(opened, name, there_and_back):
    first, second = there_and_back
    if not {first, second} <= {*kernels_info()["available"]}:
        pytest.skip(f"this machine lacks {first} or {second}")
    run = opened(name)
    with minillm.use_kernels(first), minillm.use_threads(2):
        made = compress(run, SAMPLE).data
    with minillm.use_kernels(second), minillm.use_threads(1):
        assert decompress(run, made) == SAMPLE
    named = archive.KERNELS[archive.HEADER.unpack_from(made)[1]]
    shared = SHARED if first in SHARED and name in EXACT else (first,)
    assert named == (() if name in ("ngram", "characters") else shared)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lm", {"adapt": True}),
        ("lm", {"mix": True}),
        ("mamba", {"adapt": True, "mix": True}),
        ("gpt", {"adapt": True, "mix": True}),
        ("quantised", {"mix": True}),
    ],
)
def test_the_decoder_learns_as_the_encoder_does(opened, name, options):
    data = (TEXT[:100] + "a dog and a cat and a log and a mat" * 3).encode()
    made = compress(opened(name), data, **options)
    assert decompress(opened(name), made.data) == data
    assert made.bits.sum() < compress(opened(name), data).bits.sum()


def test_the_figure_of_eval_is_the_length_of_a_file(opened):
    run, data = opened("characters"), TEXT * 3
    bits = 8 * len(compress(run, data.encode()).data)
    expected = run.evaluate(text=data)["bits_per_character"] * len(data)
    assert expected - 1 < bits < expected + 8 * (archive.HEADER.size + 20) + 0.01 * len(data)


def test_archives_are_the_same_as_ever():
    """Other bytes need another number in ``MAGIC``: archives of the last version would be lost."""
    encoder = Encoder()
    for row in frequencies(exponential(np.linspace(-30, 0, 300).reshape(100, 3))).tolist():
        encoder.encode(row[0], row[0] + row[1], MOST)
    assert encoder.finish().hex() == "733339ed5c71bab783281b8344ae1829d603583a"


# --- errors ---------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_refused_in_one_line(opened):
    run = opened("lm")
    made = compress(run, SAMPLE).data
    for at in [*range(0, len(made), 7), len(made) - 1]:
        damaged = bytearray(made)
        damaged[at] ^= 16
        with pytest.raises(InputError, match=r"damaged|expected an archive"):
            decompress(run, bytes(damaged))
        with pytest.raises(InputError, match=r"damaged|expected an archive"):
            decompress(run, made[:at])
    with pytest.raises(InputError, match="expected the model that wrote it"):
        decompress(opened("gru"), made)
    with pytest.raises(InputError, match="expected a run of "):
        compress(opened("classifier"), b"")
    with pytest.raises(InputError, match=r"adapt: expected a run of .* found 'ngram'"):
        compress(opened("ngram"), b"", adapt=True)
    with pytest.raises(InputError, match="adapt: expected weights in floats"):
        compress(opened("quantised"), b"", adapt=True)


def test_headers_with_a_right_sum_and_wrong_numbers(opened):
    made = compress(opened("characters"), b"the cat").data[:-4]
    values = archive.HEADER.unpack_from(made)
    for at, wrong in [(1, 200), (7, 9), (6, b"12345678"), (8, 3), (5, b"12345678"), (2, 1)]:
        changed = archive.HEADER.pack(*values[:at], wrong, *values[at + 1 :])
        changed += made[archive.HEADER.size :]
        with pytest.raises(InputError):
            decompress(opened("characters"), changed + struct.pack("<I", zlib.crc32(changed)))


def test_kernels_that_are_missing_are_named(opened, monkeypatch):
    with minillm.use_kernels("numpy"):
        made = compress(opened("gpt"), b"the cat").data
    info = {**kernels_info(), "kernels": "avx2", "available": ["avx2"]}
    monkeypatch.setattr(archive, "kernels_info", lambda: info)
    with pytest.raises(InputError, match="expected kernels numpy, found avx2"):
        decompress(opened("gpt"), made)


def test_the_verbs(opened, tmp_path, capsys):
    file, model = tmp_path / "a.txt", str(opened("lm").path)
    file.write_bytes(SAMPLE)
    assert main(["compress", str(file), "--model", model]) == 0
    packed, again = tmp_path / "a.txt.mini", tmp_path / "again.txt"
    assert main(["decompress", str(packed), "--model", model, "--out", str(again)]) == 0
    assert again.read_bytes() == SAMPLE
    again.unlink()
    packed.write_bytes(packed.read_bytes()[:-9])
    capsys.readouterr()
    assert main(["decompress", str(packed), "--model", model, "--out", str(again)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not again.exists()


def test_the_report_has_rivals_and_a_picture(opened, tmp_path, capsys):
    pytest.importorskip("zstandard")
    file = tmp_path / "a.txt"
    file.write_bytes(SAMPLE)
    assert main(["compress", str(file), "--model", str(opened("lm").path), "--report"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:20].strip() for line in lines[1:4]] == ["the file", "minillm", "xz"]
    assert lines[4].startswith("xz after the training text")
    page = (tmp_path / "a.txt.mini.html").read_text()
    assert page.count('class="token"') > 100
    assert 'bits">Z\u00fcrich' in page
