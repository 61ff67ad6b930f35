"""A report on an archive: its size beside xz and zstd, and where its bits went."""

import html
import lzma
from collections.abc import Callable, Iterator
from importlib import resources

import numpy as np

from minillm.compression.archive import Compressed
from minillm.errors import InputError, missing_extra
from minillm.runs.kinds.texts import OwnText, check_kept
from minillm.runs.run import Run
from minillm.text.vocabulary import visible

HOTTEST = 8  # bits of a character with the darkest shade


def programs() -> dict[str, Callable[[bytes], bytes]]:
    """Other compressors, by name.  InputError without the extra ``compress``."""
    try:
        import zstandard
    except ImportError:
        raise missing_extra("the report's zstd", "compress") from None
    far = zstandard.ZstdCompressionParameters.from_level(19, window_log=27)
    zstd = zstandard.ZstdCompressor(compression_params=far).compress
    return {"xz": lambda data: lzma.compress(data, preset=9), "zstd -19": zstd}


def lines(run: Run, data: bytes, made: Compressed) -> Iterator[str]:
    """A table of sizes.  A fair rival has read the training text, too."""
    characters = max(1, len(data.decode("utf-8", "replace")))
    try:
        check_kept(run)
        before = "".join(OwnText(run.data).parts[0]).encode()
    except (InputError, TypeError):  # it is gone, or has another form
        before = b""
    sizes = {"minillm": len(made.data)}
    for name, program in programs().items():
        sizes[name] = len(program(data))
        if before:
            after = len(program(before + data)) - len(program(before))
            sizes[f"{name} after the training text"] = after
    for name, size in {"the file": len(data), **sizes}.items():
        yield f"{name:32}{size:12,} bytes{8 * size / characters:9.4f} bits per character"
    path = run.weights_path
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    yield f"{'the model itself':32}{sum(file.stat().st_size for file in files):12,} bytes"


def picture(run: Run, made: Compressed) -> bytes:
    """A page with the text; the shade of a token is its bits per character."""
    style = resources.files("minillm.look").joinpath("look.css").read_text("utf-8")
    spans, bits = list[str](), iter(made.bits.tolist())

    def shade(text: str, cost: float, title: str) -> None:
        level = min(100, round(100 * cost / HOTTEST / max(1, len(text))))
        shown = "".join("\u21b5\n" if char == "\n" else visible(char) for char in text)
        label = f'class="token" style="--level: {level}%" title="{title}"'
        spans.append(f"<span {label}>{html.escape(shown)}</span>")

    for ids, rest in made.pieces:
        for token in map(run.tokenizer.token, ids.tolist()):
            text = token.decode("utf-8", "replace") if isinstance(token, bytes) else token
            cost = next(bits)
            shade(text, cost, f"{cost:.2f} bits")
        if rest:
            shade(rest.decode("utf-8", "replace"), HOTTEST * len(rest), "outside the vocabulary")
    style += ".token { padding: 0; border: 0; border-radius: 0; white-space: pre-wrap; }"
    body = "".join(spans)
    page = f'<!doctype html><meta charset="utf-8"><title>Bits</title><style>{style}</style>'
    mean = np.mean(made.bits) if len(made.bits) else 0.0
    return f"{page}<main><h1>{mean:.3f} bits per token</h1><p>{body}</p></main>".encode()
