"""Requests that nobody should send: made from the descriptors, by a source of randomness or systematically."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_F = FieldDescriptor
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPES = {
    _F.TYPE_STRING: _LENGTH,
    _F.TYPE_BYTES: _LENGTH,
    _F.TYPE_MESSAGE: _LENGTH,
    _F.TYPE_FIXED32: _FIXED32,
}
TEXTS = (
    "", " ", "\0", "\n", "alias/", "alias/aws/x", "alias/" + "a" * 251, "*", "../../x", "é" * 300,
    "arn:aws:kms:local-1:999988887777:key/00000000-0000-0000-0000-000000000000",
    "arn:aws:kms:elsewhere-1:111122223333:key/00000000-0000-0000-0000-000000000000",
    "arn:aws:kms:local-1:111122223333:alias/none", "00000000-0000-0000-0000-000000000000",
    "mrk-" + "0" * 32, "{}", '{"Statement": []}', "[" * 2_000, "111122223333/RSA", "\u2028\u202e\ufeff",
    "AAAAAAAAAAAAAAAAAAAA", "x" * 513, "x" * 9_000, "x" * 40_000, "-1", "0", "1", "'; drop table key; --",
)  # fmt: skip
LARGEST = 400_000
SIZES = (0, 1, 15, 16, 31, 32, 63, 64, 190, 191, 255, 256, 1_024, 1_025, 4_096, 4_097, 8_193, 70_000)
NUMBERS = (0, 1, 2, 6, 7, 30, 31, 64, 500, 1_000, 1_001, 1_024, 1_025, 2**31 - 1, 2**31, 2**32 - 1)


class Garbage:
    """Random messages.

    Args:
        source: decides everything.
        names: texts that mean something, such as ids of keys that exist.
        blobs: bytes that mean something, such as ciphertexts.
    """

    def __init__(self, source: random.Random, names: Sequence[str] = (), blobs: Sequence[bytes] = ()) -> None:
        self._source = source
        self._names = tuple(names)
        self._blobs = tuple(blobs)

    def body(self, kind: Descriptor) -> bytes:
        """Make the bytes of a request: mostly a message, sometimes one that was damaged."""
        body: bytes = self.message(kind).SerializeToString()
        if self._source.random() < 0.1:
            body = self.damaged(body)
        return body[:LARGEST]  # far larger ones are the transport's to refuse

    def damaged(self, body: bytes) -> bytes:
        """Cut, flip or lengthen some bytes."""
        source, data = self._source, bytearray(body)
        for _ in range(source.randint(1, 4)):
            place = source.randint(0, len(data))
            if source.random() < 0.5 and place < len(data):
                data[place] = source.randrange(256)
            elif source.random() < 0.5:
                del data[place:]
            else:
                data[place:place] = source.randbytes(source.randint(1, 9))
        return bytes(data)

    def message(self, kind: Descriptor, depth: int = 0) -> Message:
        """Make a message with some of its fields set."""
        made: Message = message_factory.GetMessageClass(kind)()
        for field in kind.fields:
            rare = field.name.endswith(("_crc32c", "request_id", "etag", "page_token", "dry_run"))
            if self._source.random() < (0.1 if rare else 0.8):
                self._set(made, field, depth)
        return made

    def _set(self, made: Message, field: FieldDescriptor, depth: int) -> None:
        source = self._source
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for _ in range(source.choice((0, 0, 0, 1, 2, 65))):
                getattr(made, field.name)[self.text() + str(source.randrange(99))] = self.text()
        elif field.is_repeated:
            count = source.choice((0, 1, 2, 3, 51))
            values = [self._value(field, depth) for _ in range(count)]
            getattr(made, field.name).extend(values)
        elif field.type == _F.TYPE_MESSAGE:
            getattr(made, field.name).CopyFrom(self._value(field, depth))
        else:
            setattr(made, field.name, self._value(field, depth))

    def _value(self, field: Any, depth: int) -> Any:  # noqa: PLR0911 - one for each type
        source = self._source
        match field.type:
            case _F.TYPE_STRING:
                return self.text()
            case _F.TYPE_BYTES:
                return self.blob()
            case _F.TYPE_BOOL:
                return source.random() < 0.2
            case _F.TYPE_ENUM:
                return source.choice((*(v.number for v in field.enum_type.values), -1, 99, 2**31 - 1))
            case _F.TYPE_MESSAGE:
                return self.message(field.message_type, depth + 1)
            case _F.TYPE_INT32 | _F.TYPE_INT64:
                return source.choice((0, -1, 1, 2**31 - 1, -(2**31)))
            case _:
                return source.choice((*NUMBERS, source.randrange(2**32)))

    def text(self) -> str:
        """Make a text."""
        source = self._source
        if self._names and source.random() < 0.6:
            return source.choice(self._names)
        if source.random() < 0.7:
            return source.choice(TEXTS)
        points = (source.choice((0x20, 0x61, 0xE9, 0x4E2D, 0x1F600, 0)) for _ in range(source.randint(0, 40)))
        return "".join(map(chr, points))

    def blob(self) -> bytes:
        """Make some bytes."""
        source = self._source
        if self._blobs and source.random() < 0.6:
            chosen = source.choice(self._blobs)
            return chosen if source.random() < 0.5 else self.damaged(chosen)
        return source.randbytes(source.choice(SIZES))


Change = tuple[str, str, Callable[[Any], None]]
"""What is wrong, the field's dotted name, and what makes a good request wrong."""


def faults(message: Message) -> Iterator[Change]:
    """Give one fault after the other for each field of a message, fields of its parts included."""
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None and not message.HasField(field.name):
            if field.name.endswith("_crc32c"):
                yield "a wrong checksum", field.name, _setter(field.name, 12345)
            continue
        yield from _faults(message, field)


def _faults(message: Message, field: Any) -> Iterator[Change]:
    name = field.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        yield "an empty name in", name, lambda m: getattr(m, name).update({"": "x"})
        yield "65 pairs in", name, lambda m: getattr(m, name).update({str(n): "x" for n in range(65)})
        yield "an oversize value in", name, lambda m: getattr(m, name).update({"x": "x" * 9_000})
    elif field.is_repeated:
        yield "an empty list in", name, lambda m: m.ClearField(name)
        yield "too many items in", name, lambda m: _fill(getattr(m, name), field)
        if field.type == _F.TYPE_MESSAGE:
            for number, item in enumerate(getattr(message, name)):
                yield from _inside(f"{name}[{number}]", item, _reaching(name, number))
    elif field.type == _F.TYPE_MESSAGE:
        yield from _inside(name, getattr(message, name), _reaching(name))
    else:
        for what, value in _BAD_VALUES.get(field.type, ()):
            yield what, name, _setter(name, value)


def _fill(items: Any, field: Any) -> None:
    if field.type == _F.TYPE_MESSAGE:
        sample = items[0] if items else message_factory.GetMessageClass(field.message_type)()
        items.extend([sample] * 501)
    else:
        items.extend([f"x{n}" for n in range(501)])


def _inside(prefix: str, part: Message, reach: Callable[[Any], Any]) -> Iterator[Change]:
    for what, name, change in faults(part):
        yield what, f"{prefix}.{name}", _through(reach, change)


def _reaching(name: str, number: int | None = None) -> Callable[[Any], Any]:
    return lambda m: getattr(m, name) if number is None else getattr(m, name)[number]


def _through(reach: Callable[[Any], Any], change: Callable[[Any], None]) -> Callable[[Any], None]:
    return lambda m: change(reach(m))


def _setter(name: str, value: object) -> Callable[[Any], None]:
    return lambda m: setattr(m, name, value)


_BAD_VALUES: dict[int, tuple[tuple[str, object], ...]] = {
    _F.TYPE_STRING: (
        ("an empty text in", ""),
        ("an oversize text in", "x" * 100_000),
        ("a NUL in", "alias/x\0y"),
        ("a foreign key in", "arn:aws:kms:local-1:999988887777:key/00000000-0000-0000-0000-000000000000"),
        ("words in", "no such thing"),
    ),
    _F.TYPE_BYTES: (("no bytes in", b""), ("oversize bytes in", b"x" * 100_000)),
    _F.TYPE_ENUM: (("an unknown number in", 9_999), ("a negative number in", -1), ("nothing in", 0)),
    _F.TYPE_UINT32: (("the largest number in", 2**32 - 1), ("zero in", 0)),
    _F.TYPE_FIXED32: (("a wrong checksum", 12345),),
    _F.TYPE_INT64: (("a huge number in", 2**62), ("a hugely negative number in", -(2**62))),
    _F.TYPE_INT32: (("a huge number in", 2**31 - 1), ("a number below zero in", -1)),
}


def misencodings(kind: Descriptor, good: bytes) -> Iterator[tuple[str, bytes]]:
    """Give bytes that are no message of a type, or one with a field in the wrong form."""
    yield "noise", b"\xff" * 20
    yield "an unfinished tag", b"\x80"
    yield "a length past the end", b"\x0a\xff\xff\xff\xff\x0f"
    yield "a group that never ends", b"\x0b" * 50
    yield "the field number 0", b"\x02\x00"
    yield "half of a request", good[: len(good) // 2] + b"\x0a"
    yield "an unknown field", good + b"\xfa\x7f\x03abc"
    for field in kind.fields:
        tag = field.number << 3
        if field.type == _F.TYPE_STRING:
            yield f"invalid UTF-8 in {field.name}", good + _tagged(tag | _LENGTH, b"\x02\xff\xfe")
            yield f"a lone surrogate in {field.name}", good + _tagged(tag | _LENGTH, b"\x03\xed\xa0\x80")
        if _WIRE_TYPES.get(field.type, _VARINT) != _FIXED64:
            yield f"eight bytes for {field.name}", good + _tagged(tag | _FIXED64, b"\xff" * 8)


def _tagged(tag: int, body: bytes) -> bytes:
    head = bytearray()
    while tag > 0x7F:
        head.append(tag & 0x7F | 0x80)
        tag >>= 7
    return bytes(head) + bytes([tag]) + body
