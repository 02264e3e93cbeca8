"""One thing that is sent, and the framing of requests by HTTP/1.1 (RFC 9112)."""

from dataclasses import dataclass
from random import Random

from tests.fuzz.mutation import pieces


@dataclass(frozen=True, slots=True)
class Attempt:
    """Bytes for one connection.

    Attributes:
        target: what is tried.
        number: which one of this seed.
        pieces: the bytes as they are sent, one after the other.
        is_whole: they are whole requests, so that there must be an answer.
    """

    target: str
    number: int
    pieces: tuple[bytes, ...]
    is_whole: bool

    @property
    def method(self) -> str:
        """Of the first request, which says whether its answer has a body."""
        return b"".join(self.pieces)[:10].partition(b" ")[0].decode("latin-1")


def request(
    method: str, path: str, headers: dict[str, str], body: bytes | None, chance: Random
) -> tuple[bytes, ...]:
    """A whole request, its body by its length or in chunks, in pieces of any size."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    framed = b""
    if body is not None and chance.random() < 0.7:
        lines.append(f"Content-Length: {len(body)}")
        framed = body
    elif body is not None:
        lines.append("Transfer-Encoding: chunked")
        framed = chunked(body, chance) + b"0\r\n\r\n"
    head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
    return pieces(head + framed, chance)


def chunked(body: bytes, chance: Random) -> bytes:
    """The body in chunks, without the last one, which is empty."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(body, chance))
