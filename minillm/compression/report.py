"""A report on an archive: its size beside xz and zstd, and where its bits went."""

import html
import lzma
from collections.abc import Iterator
from importlib import resources
from typing import Any

from minillm.compression.archive import Compressed
from minillm.errors import InputError, missing_extra
from minillm.runs.kinds.texts import OwnText, check_kept
from minillm.runs.run import Run
from minillm.text.vocabulary import visible

HOTTEST = 8  # bits of a character with the darkest shade


def programs() -> dict[str, Any]:
    """Other compressors, by name.  InputError without the extra ``compress``."""
    try:
        import zstandard
    except ImportError:
        raise missing_extra("the report's zstd", "compress") from None
    far = zstandard.ZstdCompressionParameters.from_level(19, window_log=27)
    return {"xz": lzma, "zstd -19": zstandard.ZstdCompressor(compression_params=far)}


def lines(run: Run, data: bytes, made: Compressed) -> Iterator[str]:
    """A table of sizes.  A fair rival has read the training text, too."""
    try:
        check_kept(run)
        before = "".join(OwnText(run.data).parts[0]).encode()
    except (InputError, TypeError):  # it is gone, or shards
        before = b""
    sizes = {"the file": len(data), "minillm": len(made.data)}
    for name, program in programs().items():
        sizes[name] = len(program.compress(data))
        if before:
            both, alone = (len(program.compress(text)) for text in (before + data, before))
            sizes[f"{name} after the training text"] = both - alone
    for name, size in sizes.items():
        bits = 8 * size / max(1, len(data.decode("utf-8", "replace")))
        yield f"{name:32}{size:12,} bytes{bits:9.4f} bits per character"
    path = run.weights_path
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    yield f"{'the model itself':32}{sum(file.stat().st_size for file in files):12,} bytes"


def picture(run: Run, made: Compressed) -> bytes:
    """A page with the text; the shade of a token is its bits per character."""
    style = resources.files("minillm.look").joinpath("look.css").read_text("utf-8")
    style += ".token { padding: 0; border: 0; border-radius: 0; white-space: pre-wrap; }"
    bits, spans = iter(made.bits.tolist()), list[str]()
    for ids, rest in made.pieces:
        costs = [next(bits) for _ in ids]
        tokens = [*map(run.tokenizer.token, ids.tolist()), *[rest] * bool(rest)]
        for token, cost in zip(tokens, [*costs, HOTTEST * len(rest)], strict=False):
            text = (
                token.decode("utf-8", "replace") if isinstance(token, bytes | bytearray) else token
            )
            level = min(100, round(100 * cost / HOTTEST / max(1, len(text))))
            shown = html.escape("".join("↵\n" if one == "\n" else visible(one) for one in text))
            title = f'style="--level: {level}%" title="{cost:.2f} bits"'
            spans.append(f'<span class="token" {title}>{shown}</span>')
    head = f'<!doctype html><meta charset="utf-8"><title>Bits</title><style>{style}</style>'
    return f"{head}<main><p>{''.join(spans)}</p></main>".encode()
