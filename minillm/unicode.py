"""Characters that tokenizers know: Unicode as it was when their tables were made.

Unicode grows each year, but a vocabulary does not, and neither do the words that its tokens were
learned from.  The reference, Hugging Face's tokenizers, has an older table than the package regex:
its words of byte pairs follow Unicode 16.0, for which a later letter is no letter.  So the later
letters and numbers are listed here.

:func:`check_encodable` is for all texts: a Python string may have half of a character, which no
file can hold.
"""

import re

from minillm.errors import InputError

_AFTER_16 = """
558 58B-58C 88F C5C CDC 208F 209D-209F A7CE-A7CF A7D2 A7D4 A7DD-A7F1 AB6C-AB6D 107BB-107BF
10940-10959 10EC5-10EC7 10ED9-10EEE 11B0A 11DB0-11DE9 11DF1 1246F 12475-1247F 12550-12686
16EA0-16ED3 16FF2-16FF6 187F8-187FF 18CD6-18CDA 18D09-191D2 1B123-1B128 1B168 1D6A6
1DF1F-1DF24 1DF2B-1DFFF 1E6C0-1E6E2 1E6E4-1E6E5 1E6E7-1E6ED 1E6F0-1E6F4 1E6FE-1E6FF
2B73A-2B73F 2B81E 2CEA2-2CEAD 323B0-3FC3F
"""  # letters and numbers


def _one_of(ranges: str) -> re.Pattern[str]:
    """A pattern of one character of the ranges, which are written as hexadecimal numbers."""
    ends = (part.split("-") for part in ranges.split())
    return re.compile("[" + "".join(rf"\U{a[0]:0>8}-\U{a[-1]:0>8}" for a in ends) + "]")


_LATE = _one_of(_AFTER_16)
# Each character above 10000 is examined by itself: a search for so many ranges is slow.
_PERHAPS_LATE = _one_of(_AFTER_16[: _AFTER_16.index(" 107BB")] + " 10000-10FFFF")
_UNASSIGNED = {2: "\u0378", 3: "\u2fe0", 4: "\U000e0080"}  # by their bytes in UTF-8


def without_late_letters(text: str) -> str:
    """The text with an unassigned character in place of each letter and number after 16.0.

    It has as many bytes.

    >>> without_late_letters("a\u0558b") == "a\u0378b"
    True
    """
    return _PERHAPS_LATE.sub(_unassigned_if_late, text)


def _unassigned_if_late(found: re.Match[str]) -> str:
    is_late = _LATE.match(found[0])
    return _UNASSIGNED[len(found[0].encode())] if is_late else found[0]


def check_encodable(text: str, name: str) -> None:
    """InputError, with ``name``, line and column, for a lone surrogate, which UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        place, code = line_and_column(text, error.start, name), f"U+{ord(text[error.start]):04X}"
        raise InputError(f"{place}: expected text, found a lone surrogate ({code})") from None


def line_and_column(text: str, at: int, name: str) -> str:
    """The place of a character for messages: the name of its text, the line and the column."""
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return f"{name}, line {line}, column {column}"
