"""Characters that tokenizers know: Unicode as it was when their tables were made.

Unicode grows each year, but a vocabulary does not, and neither do the words that its tokens were
learned from.  The reference, Hugging Face's tokenizers, has older tables than Python or the package
regex.  The words of BERT follow Unicode 8.0.  The patterns of byte pairs follow Unicode 16.0, in
tokenizers 0.23.3, which is the version that the tests compare with.  For these tables, a later mark
is no mark and a later letter no letter.  So the later characters are listed here, and their
properties are not asked for.

The lower case of a letter is left to Python: versions before 3.14 do not know the few capitals that
Unicode got after 15.0.

:func:`check_encodable` is for all texts: a Python string may have half of a character, which no
file can hold.

tests/text/make_unicode_tables.py makes both lists, and regex must know Unicode 16.0.
"""

import re
import unicodedata

from minillm.errors import InputError

_AFTER_16 = """
558 58B-58C 88F C5C CDC 208F 209D-209F A7CE-A7CF A7D2 A7D4 A7DD-A7F1 AB6C-AB6D 107BB-107BF
10940-10959 10EC5-10EC7 10ED9-10EEE 11B0A 11DB0-11DE9 11DF1 1246F 12475-1247F 12550-12686
16EA0-16ED3 16FF2-16FF6 187F8-187FF 18CD6-18CDA 18D09-191D2 1B123-1B128 1B168 1D6A6
1DF1F-1DF24 1DF2B-1DFFF 1E6C0-1E6E2 1E6E4-1E6E5 1E6E7-1E6ED 1E6F0-1E6F4 1E6FE-1E6FF
2B73A-2B73F 2B81E 2CEA2-2CEAD 323B0-3FC3F
"""  # letters and numbers

_AFTER_8 = """
5C8-5C9 61D 7FD 890-89F 8CA-8E2 9FD-9FE A76 AFA-AFF B53-B55 C04 C3C C77 C84 D00 D3B-D3C
D81 EBA ECE 180F 1885-1886 1ABF-1AF0 1B4E-1B4F 1B7D-1B7F 1DF6-1DFB 2E43-2E4F 2E52-2E63
A82C A8C5 A8FF A9BD 10D24-10D27 10D69-10D6E 10EAB-10EAD 10ECB-10ED0 10EF0-10EFF
10F46-10F50 10F55-10F59 10F82-10F89 11070 11073-11074 110C2-110CD 111C9 111CF 1123E 11241
1133B 113BB-113C0 113CE 113D0 113D2 113D4-113E2 11438-1143F 11442-11444 11446 1144B-1144F
1145A-1145E 11660-1166C 116B9 1182F-11837 11839-1183B 11938-1193C 1193E 11943-11946
119D4-119DB 119E0 119E2 11A01-11A0A 11A33-11A38 11A3B-11A47 11A51-11A56 11A59-11A5B
11A8A-11A96 11A98-11A9C 11A9E-11AA2 11B00-11B09 11B60 11B62-11B64 11B66 11BE1 11C30-11C3D
11C3F 11C41-11C45 11C70-11C71 11C92-11CA7 11CAA-11CB0 11CB2-11CB3 11CB5-11CB6 11D31-11D45
11D47 11D90-11D91 11D95 11D97 11DF0 11EF3-11EF4 11EF7-11F01 11F36-11F3A 11F40 11F42-11F4F
11F5A 11FFF 12FF1-12FF2 13430-13440 13447-13455 1611E-16129 1612D-1612F 16D6D-16D6F
16E97-16E9A 16F4F 16FE2 16FE4 1CF00-1CF46 1D127-1D128 1D25B-1D25C 1E000-1E02A 1E08F
1E130-1E136 1E2AE 1E2EC-1E2EF 1E4EC-1E4EF 1E5EE-1E5EF 1E5FF 1E6E3 1E6E6 1E6EE-1E6EF 1E6F5
1E944-1E94A 1E95E-1E95F
"""  # marks, punctuation, format characters, and what has a decomposition

# Characters that have another category now.
_UNTIL_8 = {"\u166d": "Po", "\u1734": "Mn", "\U000111c9": "Po", "\U0001171e": "Mn"}


def _one_of(ranges: str) -> re.Pattern[str]:
    """A pattern of one character of the ranges, which are written as hexadecimal numbers."""
    ends = (part.split("-") for part in ranges.split())
    return re.compile("[" + "".join(rf"\U{a[0]:0>8}-\U{a[-1]:0>8}" for a in ends) + "]")


_LATE_FOR_PATTERNS, _LATE_FOR_BERT = _one_of(_AFTER_16), _one_of(_AFTER_8)
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
    is_late = _LATE_FOR_PATTERNS.match(found[0])
    return _UNASSIGNED[len(found[0].encode())] if is_late else found[0]


def category(character: str) -> str:
    """Unicode's category of a character, such as "Mn", as BERT's words know it.

    "Cn", unassigned, for a mark, punctuation or format character that came after 8.0.
    """
    if character in _UNTIL_8:
        return _UNTIL_8[character]
    return "Cn" if _LATE_FOR_BERT.match(character) else unicodedata.category(character)


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
