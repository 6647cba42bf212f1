"""Valid files made invalid: bytes flipped, cut, spliced, numbers made huge, structure nested, encodings changed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
NUMBERS = (
    b"-1", b"0", b"1", b"2", b"0.5", b"1e999", b"-1e999", b"nan", b"NaN", b"Infinity", b"inf", b"1_0",
    b"0x1", b"1e-320", b"2147483648", b"4294967295", b"9223372036854775808", b"18446744073709551616",
    b"9" * 400, b"9" * 5000,
)  # fmt: skip
WORDS = (
    b"", b"null", b"true", b"[]", b"{}", b'""', b'"', b"'", b"\n", b"\r", b"\t", b",", b";", b"|", b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf", b"\\u0000", b'"\\ud800"', b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"../../etc/passwd",
    b"/etc/passwd",
    b"A" * 300, b"A" * 5000, b"<!DOCTYPE a>", b"<a>", b"</a>", b"&lt;", b"&x;", b"=1+1", b"\x1b[31m",
    b"\xe2\x80\xae", b"a/" * 200, b"cos\nsystem\n", b"!!python/object:os.system",
)  # fmt: skip
CODECS = ("utf-16", "utf-16-le", "utf-32", "utf-7", "cp1252", "cp037")

Mutation = Callable[[bytes, random.Random], bytes]


def flip(data: bytes, chance: random.Random) -> bytes:
    """Some bytes replaced."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if found:
            found[chance.randrange(len(found))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
    return bytes(found)


def cut(data: bytes, chance: random.Random) -> bytes:
    """The end, or a part, taken out."""
    start, stop = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:start] if chance.random() < 0.5 else data[:start] + data[stop:]


def repeat(data: bytes, chance: random.Random) -> bytes:
    """A part written several times."""
    start = chance.randrange(len(data) + 1)
    part = data[start : start + chance.choice((1, 4, 32, 200))]
    return data[:start] + part * chance.choice((2, 3, 20)) + data[start:]


def insert(data: bytes, chance: random.Random) -> bytes:
    """A word that means something to some reader, in place of some bytes."""
    start = chance.randrange(len(data) + 1)
    return data[:start] + chance.choice(WORDS) + data[start + chance.choice((0, 0, 1, 8)) :]


def number(data: bytes, chance: random.Random) -> bytes:
    """A number made huge, negative, or none."""
    found = list(NUMBER.finditer(data))
    if not found:
        return flip(data, chance)
    one = chance.choice(found)
    return data[: one.start()] + chance.choice(NUMBERS) + data[one.end() :]


def integer(data: bytes, chance: random.Random) -> bytes:
    """A binary length or offset made huge or negative."""
    size = chance.choice((2, 4, 8))
    start = chance.randrange(max(1, len(data) - size))
    value = chance.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1))
    order = "little" if chance.random() < 0.5 else "big"
    packed = (value % (1 << (8 * size))).to_bytes(size, order)  # type: ignore[arg-type]
    return data[:start] + packed + data[start + size :]


def nest(data: bytes, chance: random.Random) -> bytes:
    """Brackets or elements within each other."""
    opening, closing = chance.choice(
        ((b"[", b"]"), (b'{"a":', b"}"), (b"<a>", b"</a>"), (b"(", b")"), (b"- ", b""))
    )
    deep = chance.choice((3, 50, 2000))
    start = chance.randrange(len(data) + 1)
    return data[:start] + opening * deep + chance.choice((b"1", b"")) + closing * deep + data[start:]


def lines(data: bytes, chance: random.Random) -> bytes:
    """A line taken out, written twice or moved."""
    found = data.splitlines(keepends=True)
    if len(found) < 2:
        return repeat(data, chance)
    line = found.pop(chance.randrange(len(found)))
    for _ in range(chance.choice((0, 1, 2))):
        found.insert(chance.randrange(len(found) + 1), line)
    return b"".join(found)


def encode(data: bytes, chance: random.Random) -> bytes:
    """Another encoding of the same text."""
    return data.decode("latin-1").encode(chance.choice(CODECS), "replace")


MUTATIONS: Sequence[Mutation] = (flip, cut, repeat, insert, number, integer, nest, lines, encode)


def mutated(data: bytes, chance: random.Random, others: Sequence[bytes] = (), most: int = 1 << 16) -> bytes:
    """A few mutations one after the other; now and then the beginning of one file and the end of another."""
    if others and chance.random() < 0.1:
        other = chance.choice(others)
        data = data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        data = chance.choice(MUTATIONS)(data, chance)
    return data[:most]
