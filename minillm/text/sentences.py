"""Sentences of a text, found by rules.

A blank line, a heading and an item of a list end a sentence; any other line end is a space.
Elsewhere, a sentence ends at a word with ``.``, ``!``, ``?`` or an ellipsis.  Quotation marks and
brackets that close after the mark belong to the sentence.  There are exceptions:

- The next word begins in lower case, and the mark is an ellipsis, or a quotation or a bracket ends
  with it (``"Why?" he asked``).
- The word is an abbreviation: one of a list, or letters with full stops (``e.g.``, ``J.``).  An
  abbreviation that can end a sentence (``etc.``, ``U.S.``) does so before capitalised words such as
  *The*, *We* or *Please*, because these words are rarely part of a name.
- The word is the number of an item (``2. Rent a trailer``).

These rules miss an end if a name follows an abbreviation (``of Acme Inc. Ada wrote``), if a
sentence begins in lower case after an abbreviation or an ellipsis, or if a space is missing (``the
end.The next``).  They find a wrong end after an abbreviation that the list lacks, for example
of another language.  The marks of other scripts, such as Chinese, end no sentence.  The lines of a
signature, an address or a table become one sentence.

Sources: Grefenstette and Tapanainen (1994), "What is a word, what is a sentence? Problems of
tokenization", for lists of abbreviations; Kiss and Strunk (2006), "Unsupervised multilingual
sentence boundary detection", for the next word as evidence after an abbreviation.
"""

import re
from collections.abc import Iterator

# A name or an explanation follows these: they end no sentence.
_INSIDE = frozenset(
    """mr mrs ms messrs dr prof rev hon gen col capt lt sgt sen rep gov pres vs cf viz approx incl
    resp e.g i.e w.r.t a.k.a p.s""".split()
)
# A number follows these, unless they are words.
_BEFORE_NUMBERS = frozenset("no nos art sec ch p pp vol fig figs eq eqs ext tel".split())
# These may end a sentence, as letters with full stops may.
_PERHAPS = frozenset(
    """al etc inc corp co ltd llc plc bros dept dist div assn univ jr sr esq est st ave blvd rd jan
    feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri hrs yr yrs
    lb lbs oz ft min max info pls appt conf conv tech mgmt mgr asst assoc""".split()
)
# These begin a sentence, and hardly a name.
_OPENERS = frozenset(
    """A An The This That These Those There It Its I We You He She They My Our Your His Her Their If
    In On At As By For From With When While Where Who What Why How Which After Before Since
    Because Following Although However Therefore Thus Then Moreover Furthermore Finally And But
    Or So Yet Also Please Let Thanks Thank Is Are Was Were Do Does Did Have Has Can Could Will
    Would Should May Not Here Now All Any Both Each Some Many Most Such Another Previous
    Current Attached""".split()
)

_MARKS, _OPENING, _QUOTES = ".!?…", "\"'“‘«([{¿¡*_", "\"'”’»)]}"
_CLOSING = _QUOTES + "*_"  # with the marks of Markdown
_FOOTNOTES = re.compile(r"(\[\d{1,4}\]){1,4}$")
_DOTTED = re.compile(r"(?:[^\W\d_]+\.)+[^\W\d_]|[A-Z]")  # U.S, Ph.D, J
_ITEM_NUMBER = re.compile(r"\d{1,2}")
_HEADING = re.compile(r"#{1,6}\s")
_ITEM = re.compile(r"[-*+•–]\s|\(?(?:\d{1,3}|[a-zA-Z])\)\s|\d{1,3}\.\s")
_TEXT = re.compile(r"[^\W_]")  # a letter or a digit


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, with single spaces; without lines that have no word.

    >>> sentences("Dr. Smith et al. (2016) met J. Doe at 3.30 p.m. in the U.S. They agreed.")
    ['Dr. Smith et al. (2016) met J. Doe at 3.30 p.m. in the U.S.', 'They agreed.']
    >>> sentences('"Why?" he asked. (They knew.) Hi... anything new? i will call. thanks')
    ['"Why?" he asked.', '(They knew.)', 'Hi... anything new?', 'i will call.', 'thanks']
    >>> sentences("# A title\\nA line that\\ngoes on\\n\\n1. Buy milk.\\n2. Sell tea")
    ['# A title', 'A line that goes on', '1. Buy milk.', '2. Sell tea']
    """
    found = (sentence for block in _blocks(text) for sentence in _split(block.split()))
    return [sentence for sentence in found if _TEXT.search(sentence)]


def _blocks(text: str) -> Iterator[str]:
    """The parts of a text between ends that no mark shows."""
    block: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        heading = _HEADING.match(line)
        if block and (heading or not _TEXT.search(line) or _ITEM.match(line)):
            yield " ".join(block)
            block = []
        if heading:
            yield line
        elif _TEXT.search(line):
            block.append(line)
    yield " ".join(block)


def _split(words: list[str]) -> Iterator[str]:
    """The sentences of a block of words."""
    start = 0
    for end in range(1, len(words)):
        if _ends(words, start, end):
            yield " ".join(words[start:end])
            start = end
    if start < len(words):
        yield " ".join(words[start:])


def _ends(words: list[str], start: int, end: int) -> bool:
    """Whether the sentence that begins at ``start`` ends before the word at ``end``."""
    last = _FOOTNOTES.sub("", words[end - 1])
    closing = last.rstrip(_CLOSING)
    word = closing.rstrip(_MARKS)
    mark = closing[len(word) :]
    if not mark or not words[end].strip(_MARKS + _QUOTES):  # of ". . .", the last mark counts
        return False
    following = words[end].lstrip(_OPENING)
    in_lower_case = following[:1].islower()
    if in_lower_case and (closing != last or "…" in mark or mark.endswith("..")):
        return False
    if mark != ".":
        return True
    if not word and end - 1 > start:  # the mark stands by itself
        word = words[end - 2]
    word = word.lstrip(_OPENING)
    first = end - 1 == start or words[end - 2][-1] in ":;,"
    if first and _ITEM_NUMBER.fullmatch(word):
        return False
    word = re.split(r"[-–/(]", word)[-1]  # non-U.S.
    if word.lower() in _INSIDE:
        return False
    if word.lower() in _BEFORE_NUMBERS:
        return not following[:1].isdigit()
    if word.lower() in _PERHAPS or _DOTTED.fullmatch(word):
        return re.split(r"\W", following, maxsplit=1)[0] in _OPENERS
    return not (in_lower_case and len(word) == 1)
