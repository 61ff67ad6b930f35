"""A range coder: symbols with probabilities to bytes, and back.

Symbol s has a frequency f_s out of a total F, and c_s is the sum of the frequencies before it.  So
it owns the part [c_s / F, (c_s + f_s) / F) of the unit interval.  A text owns an interval, too:
start with all numbers from 0 to 1, and keep the part of each symbol.

    low   = low + range c_s / F
    range = range f_s / F

In the end, the range is the product of all p_s = f_s / F.  A number of about -log2(range) = sum of
-log2 p_s bits lies inside and names the text.  The decoder knows the same frequencies, because it
has read the symbols so far.  It looks up the part that the number is in.

**Integers.**  low and range count in units of 2^-32.  When the range is below 2^24, the first byte
of low is written, and both are multiplied by 2^8.  A part begins at floor(range c_s / F) and ends
where the next one begins, so no number is lost.  With F <= 2^24 <= range, none is empty.

**Carries.**  If the interval contains a multiple of 2^32, low may pass it.  Then the bytes that are
written grow by one: ff becomes 00, and the byte before it grows.

**The end.**  The range is at least 2^24, so the interval has a multiple of 2^24, and one more byte
names it.  The decoder reads zeros after the last byte, so zeros at the end are not written.

Sources: Pasco (1976), "Source coding algorithms for fast data compression"; Martin (1979), "Range
encoding: an algorithm for removing redundancy from a digitised message".
"""

WHOLE, LEAST = 1 << 32, 1 << 24  # the first range; below LEAST, a byte is written
MOST = LEAST  # the largest total F


class Encoder:
    """Symbols to bytes: ``encode`` each, then ``finish``."""

    def __init__(self) -> None:
        self.low, self.range, self.written = 0, WHOLE, bytearray()

    def encode(self, start: int, end: int, total: int) -> None:
        """Encode the symbol with the part from start to end of the total."""
        first = self.range * start // total
        self.low, self.range = self.low + first, self.range * end // total - first
        while self.range < LEAST:
            self._write_byte()
            self.range <<= 8

    def finish(self) -> bytes:
        """All bytes."""
        self.low += -self.low % LEAST
        self._write_byte()
        return bytes(self.written.rstrip(b"\0"))

    def _write_byte(self) -> None:
        if self.low >= WHOLE:  # a carry
            at = len(self.written) - 1
            while self.written[at] == 255:
                self.written[at] = 0
                at -= 1
            self.written[at] += 1
        self.written.append(self.low >> 24 & 255)
        self.low = self.low % LEAST << 8


class Decoder:
    """Bytes to symbols: ``find`` the part of the next one, then ``decode`` it."""

    def __init__(self, data: bytes) -> None:
        self.bytes, self.range = iter(data), WHOLE
        self.code = 0  # the number, minus low
        for _ in range(4):
            self._read_byte()

    def find(self, total: int) -> int:
        """A number from start to end - 1 of the next symbol: range start < (code + 1) total."""
        return ((self.code + 1) * total - 1) // self.range

    def decode(self, start: int, end: int, total: int) -> None:
        """Go on after the symbol with this part."""
        first = self.range * start // total
        self.code, self.range = self.code - first, self.range * end // total - first
        while self.range < LEAST:
            self._read_byte()
            self.range <<= 8

    def _read_byte(self) -> None:
        self.code = self.code << 8 | next(self.bytes, 0)
