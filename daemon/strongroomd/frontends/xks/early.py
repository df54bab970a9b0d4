"""What can be known of a request before HTTP is parsed: enough to send it away cheaply.

A worker with too much to do has to read what it refuses, and reading a request the long way costs half of
serving it. KMS sends each request in one piece, and only what is whole, plain and legal to the letter is
understood here (RFC 9112); everything else goes the long way.
"""

import re
from typing import Final

MAX_SIZE: Final = 32_768  # bytes; the largest legal request has about 22,000
_HEAD: Final = re.compile(
    rb"POST (/[!-~]*+) HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n)++\r\n"
)
_LENGTH: Final = re.compile(rb"[ \t]*+([0-9]{1,5})[ \t]*+")
_NOT_PLAIN: Final = frozenset({b"transfer-encoding", b"connection", b"expect", b"upgrade", b"trailer"})


def path_of(data: bytes) -> str | None:
    """Find the path of exactly one whole request; None if these bytes are anything else, or not only that.

    Args:
        data: what came in one piece on a connection between two requests.
    """
    head = _HEAD.match(data) if len(data) <= MAX_SIZE else None
    if head is None:
        return None
    lines = [line.partition(b":") for line in head[0].lower().split(b"\r\n")[1:-2]]
    names = [line[0] for line in lines]
    if names.count(b"host") != 1 or names.count(b"content-length") != 1 or not _NOT_PLAIN.isdisjoint(names):
        return None
    length = _LENGTH.fullmatch(lines[names.index(b"content-length")][2])
    if length is None or int(length[1]) != len(data) - head.end():
        return None
    return head[1].decode("ascii")
