"""Makes unicode_tables.json: the characters as the library tokenizers sorts them.

    python tests/text/make_unicode_tables.py

The file has ranges of characters: those that BERT's normalizer removes, replaces by a space, or
removes as marks, those that are words of their own, and the letters and numbers of the patterns of
byte pairs.  Then it prints the lists of minillm/unicode.py: the characters that Python or regex,
but not the reference, have for marks, punctuation or format characters, or for letters or numbers,
and those that only Python decomposes.  Ranges may be joined over characters that are unassigned.
"""

import json
import textwrap
import unicodedata
from pathlib import Path

CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
# Planes 4 to 13 are empty, and 15 and 16 are for private use: tests take every 61st code point.
TESTED = [c for c in CHARACTERS if ord(c) >> 16 in (0, 1, 2, 3, 14) or ord(c) % 61 == 0]
FILE = Path(__file__).with_name("unicode_tables.json")


def ranges(characters, joined=frozenset()):
    """The ranges of characters in a text, in hexadecimal; gaps of ``joined`` are closed."""
    found = []
    for code in sorted(map(ord, characters)):
        if found and all(chr(gap) in joined for gap in range(found[-1][1] + 1, code)):
            found[-1][1] = code
        else:
            found.append([code, code])
    return " ".join(f"{a:X}" if a == b else f"{a:X}-{b:X}" for a, b in found)


def characters_of(text):
    """The set of the characters in ranges."""
    ends = (part.split("-") for part in text.split())
    return {chr(code) for a in ends for code in range(int(a[0], 16), int(a[-1], 16) + 1)}


def reference():
    """The sets of characters by their names."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    def normalizer(**options):
        usual = dict.fromkeys(
            ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False
        )
        return normalizers.BertNormalizer(**usual | options).normalize_str

    def where(function, expected):
        return {c for c in CHARACTERS if function(f"a{c}b") == expected}

    def matches(pattern):
        split = pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str
        return {c for c in CHARACTERS if c != "-" and len(split(f"-{c}-")) == 3}

    clean, strip = normalizer(clean_text=True), normalizer(strip_accents=True)
    words = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    return {
        "removed": where(clean, "ab"),
        "spaces": where(clean, "a b"),
        "marks": where(strip, "ab"),
        "decomposed": {c for c in CHARACTERS if strip(f"a{c}b") not in ("ab", f"a{c}b")},
        "punctuation": {c for c in CHARACTERS if len(words(f"a{c}b")) == 3},
        "letters": matches(r"\p{L}"),
        "numbers": matches(r"\p{N}"),
    }


def late(known):
    """The characters of both lists of minillm/unicode.py."""
    import regex

    def all_of(kind):
        return {c for c in CHARACTERS if regex.match(rf"\p{{{kind}}}", c)}

    both = known["letters"] | known["numbers"]
    marks = known["marks"] | known["removed"] | {c for c in known["punctuation"] if c > "\x7f"}
    decomposed = {c for c in CHARACTERS if unicodedata.normalize("NFD", c) != c}
    for_bert = (all_of("P") - known["punctuation"]) | (all_of("Mn") - known["marks"])
    for_bert |= (all_of("Cf") - known["removed"]) | (decomposed - known["decomposed"] - marks)
    unassigned = all_of("Cn")
    return [
        ranges((all_of("L") | all_of("N")) - both, unassigned),
        ranges(for_bert, unassigned),
    ]


if __name__ == "__main__":
    import tokenizers

    known = reference()
    tables = {"tokenizers": tokenizers.__version__}
    tables |= {name: ranges(characters) for name, characters in known.items()}
    FILE.write_text(json.dumps(tables, indent=1) + "\n")
    for text in late(known):
        print("\n".join(textwrap.wrap(text, 90)), end="\n\n")
