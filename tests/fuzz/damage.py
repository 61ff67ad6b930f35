"""Random changes to files: bytes, lines, numbers, JSON values, tensors."""

import gzip
import json
import random
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from safetensors.numpy import load, save

# Written into JSON texts in place of these strings: Python itself refuses to write them.
RAW = {
    '"@deep@"': "[" * 100_000,
    '"@digits@"': "9" * 5000,
    '"@many@"': "9" * 4300,  # which Python reads
    '"@half@"': '"\\ud800"',
}
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 1.5, -0.5, 0.0, 1e308, -1e308, float("nan"),
    float("inf"), 2**31 - 1, 2**31, -(2**31), 2**63 - 1, 2**63, 10**9, 10**30, 10**400,
    "", "x", "-", "\n", "\0", "é😀", "gru", "lstm", "word", "character", "/dev/zero", "x" * 5000,
    [], {}, [[]], [0], ["x"], {"x": 1}, [1.5, None], "@deep@", "@digits@", "@many@", "@half@",
]  # fmt: skip
WORDS = [
    b"", b"0", b"-1", b"1", b"1.5", b"nan", b"inf", b"-inf", b"1e999", b"1e-999", b"1_0", b"0x10",
    b"9" * 19, b"9" * 5000, b"2147483648", b"10000000000000000000", b"-99", b"\0", b"\xff",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf4\x90\x80\x80", b"<s>", b"</s>", b"<unk>",
    b"<U+110000>", b"<U+D800>", b"<U+0020>", b"<U+FFFFFF>", b"\t", b"\n", b"\r", b"\r\n", b" ",
    b"\\end\\", b"\\data\\", b"\\2-grams:", b"ngram 9=9", b": x", b"#", b",", b'"', b"\x1f\x8b",
    b"a" * 3000, b"\x85", b"\x0b", b"\xe2\x80\xa8", b"{", b"[", b"null",
]  # fmt: skip
NUMBERS = [0, 1, 2, 3, 8, 9, 12, 31, 255, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
FLOATS = [np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0, 1e-45, -99, 100]
TYPES = ["BF16", "F8_E4M3", "F8_E5M2", "F16", "I32", "C64", "F4"]


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """A flipped bit, a cut, a span that is gone, doubled or overwritten, or a word put in."""
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + 1 + int(rng.expovariate(0.1)))
    before, span, after = data[:at], data[at:end], data[end:]
    if rng.randrange(7) == 0:
        return before
    flipped = bytes(byte ^ (1 << rng.randrange(8)) for byte in span[:1]) + span[1:]
    filled = rng.choice([b"\0", b"\xff", b" ", b"\n"]) * len(span)
    word = rng.choice(WORDS) + span
    return (
        before
        + rng.choice([flipped, b"", span * 2, rng.randbytes(len(span)), filled, word])
        + after
    )


def damage_text(data: bytes, rng: random.Random) -> bytes:
    """Another word in a field, lines that are gone, doubled or exchanged; or any bytes."""
    choice = rng.randrange(5)
    if choice <= 1 and (fields := list(re.finditer(rb"\S+", data))):
        field = rng.choice(fields)
        return data[: field.start()] + rng.choice(WORDS) + data[field.end() :]
    if choice == 2:
        lines = data.split(b"\n")
        k, other = rng.randrange(len(lines)), rng.choice(lines)
        twice = lines[k] + b"\t" + lines[k]
        changes = [[], [other, lines[k]], [other], [b""], [b"\t"], [b" "], [b"x" * 2000], [twice]]
        lines[k : k + 1] = rng.choice(changes)
        return b"\n".join(lines)
    return damage_bytes(data, rng)


def damage_gzip(data: bytes, rng: random.Random) -> bytes:
    """Damage to the file, or to the text in it."""
    if rng.random() < 0.5:
        return damage_bytes(data, rng)
    return gzip.compress(damage_text(gzip.decompress(data), rng), 1, mtime=0)


def damage_value(value: Any, rng: random.Random) -> Any:
    """A JSON value in which one place has changed; the value itself stays as it is."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        match rng.randrange(12):
            case 0:
                return {key: entry for key, entry in value.items() if key != name}
            case 1:
                return value | {
                    rng.choice(["x", "", "vocabulary", "order", "steps", name + "x"]): 1
                }
        return value | {name: damage_value(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        k = rng.randrange(len(value))
        changed = [damage_value(value[k], rng)]
        middle = rng.choice([[], [value[k]] * 2, changed, changed])
        return value[:k] + middle + rng.choice([[], *[value[k + 1 :]] * 4])
    if type(value) is int and rng.random() < 0.4:
        return value + rng.choice([-1, 1, 1000, 10**6])
    return rng.choice(VALUES)


def json_text(values: Any) -> str:
    """JSON, with the places that only a text can have filled in."""
    text = json.dumps(values, ensure_ascii=False)
    for mark, raw in RAW.items():
        text = text.replace(mark, raw)
    return text


def damage_json(data: bytes, rng: random.Random) -> bytes:
    """Another value somewhere; now and then other bytes."""
    if rng.random() < 0.1:
        return damage_bytes(data, rng)
    values = json.loads(data)
    for _ in range(1 + int(rng.expovariate(1))):
        values = damage_value(values, rng)
    return json_text(values).encode("utf-8", "surrogatepass")


def damage_json_lines(data: bytes, rng: random.Random) -> bytes:
    """One line is other JSON; or the text is damaged."""
    if rng.random() < 0.3:
        return damage_text(data, rng)
    lines = data.split(b"\n")
    k = rng.randrange(len(lines) - 1)
    lines[k] = damage_json(lines[k], rng)
    return b"\n".join(lines)


def damage_tensors(data: bytes, rng: random.Random) -> bytes:
    """Other bytes, another header, or a valid file of other tensors."""
    choice = rng.random()
    if choice < 0.2:
        return damage_bytes(data, rng)
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    facts = header.get("__metadata__", {})
    if choice < 0.45:
        if rng.random() < 0.5 and "minillm" in facts:
            text = damage_json(facts["minillm"].encode(), rng)
            facts["minillm"] = text.decode("utf-8", "replace")
        elif rng.random() < 0.5:
            header[rng.choice([name for name in header if name != "__metadata__"])]["dtype"] = (
                rng.choice(TYPES)
            )
        else:
            header = damage_value(header, rng)
        text = json_text(header).encode("utf-8", "replace")
        return struct.pack("<Q", len(text)) + text + body
    arrays = {name: array.copy() for name, array in load(data).items()}
    name = rng.choice(list(arrays))
    arrays[name] = other_array(arrays[name], rng)
    return save(arrays, facts)


def other_array(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """Another dtype, another shape, or other numbers."""
    flat = array.reshape(-1)
    with np.errstate(all="ignore"):
        typed = array.astype(rng.choice(["f8", "f2", "i8", "i4", "u1", "?"]))
    shaped = rng.choice([array.T, array[..., None], flat[: rng.randrange(flat.size + 1)]])
    spoiled = array.copy()
    for _ in range(1 + int(rng.expovariate(1))):
        if array.size and array.dtype.kind in "fi":
            integers = array.dtype.kind == "i"
            most = np.iinfo(array.dtype).max if integers else 0
            near = [-1, 0, 1, 5, array.size, rng.randrange(100), most, -most - 1]
            spoiled.flat[rng.randrange(array.size)] = rng.choice(near if integers else FLOATS)
    changed = rng.choice([typed, shaped, np.concatenate([flat, flat]), *[spoiled] * 4])
    return np.ascontiguousarray(changed)


def damage_gguf(data: bytes, rng: random.Random) -> bytes:
    """Another number of four or eight bytes, mostly among the metadata; or other bytes."""
    if rng.random() < 0.4:
        return damage_bytes(data, rng)
    at = rng.randrange(len(data) if rng.random() < 0.2 else min(len(data), 400))
    number = rng.choice(NUMBERS)
    size = 4 if number < 2**32 and rng.random() < 0.5 else 8
    return data[:at] + number.to_bytes(size, "little") + data[at + size :]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": damage_json,
    ".jsonl": damage_json_lines,
    ".safetensors": damage_tensors,
    ".gz": damage_gzip,
    ".bin": damage_bytes,
    ".gguf": damage_gguf,
}


def damaged(name: str, data: bytes, rng: random.Random) -> bytes:
    """The content of a file of that name with one to some changes."""
    damage = DAMAGES.get(name[name.rfind(".") :], damage_text)
    if damage not in (damage_text, damage_bytes):
        return damage(data, rng)
    for _ in range(1 + int(rng.expovariate(0.7))):
        data = damage(data, rng)
    return data
