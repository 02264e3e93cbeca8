"""Requests that are odd as HTTP: their heads, and what frames their bodies (RFC 9112)."""

from random import Random

from tests.fuzz.attempt import chunked
from tests.fuzz.forms import simple_form
from tests.fuzz.mutation import mutated, pieces, sometimes
from tests.fuzz.seeds import small_picture

METHODS = (b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"PUT", b"TRACE", b"get", b"G T", b"")
PATHS = (
    b"/health",
    b"/upload",
    b"/stats",
    b"/metrics",
    b"/docs",
    b"/openapi.json",
    b"/blur/",
    b"/",
    b"*",
    b"//",
    b"/%2e%2e/%2e%2e/etc/passwd",
    b"http://127.0.0.1/health",
    b"/health?" + b"a" * 60_000,
    b"/\xff\xfe",
    b"",
)
VERSIONS = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"")
LINES = (
    b"Host: 127.0.0.1",
    b"Host: evil.invalid",
    b"Host:",
    b"Host : 127.0.0.1",
    b"Authorization: Bearer " + b"a" * 3000,
    b"Authorization: Bearer \xff\xfe",
    b"Authorization: Basic YTpi",
    b"Idempotency-Key: a",
    b'Idempotency-Key: "' + b"k" * 255 + b'"',
    b"Idempotency-Key: \xe4\xb8\xad",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: 1, 1",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Content-Encoding: gzip",
    b"Expect: 100-continue",
    b"Expect: a-miracle",
    b"Connection: close",
    b"Connection: upgrade",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Range: bytes=0-0,1-1,2-",
    b"Range: bytes=-99999999999999999999",
    b"If-None-Match: " + b'"a",' * 1000,
    b"If-Modified-Since: yesterday",
    b"Accept: */*;q=x",
    b"Accept: " + b"a/b," * 3000,
    b"Origin: http://evil.invalid",
    b"Cookie: " + b"a=b; " * 2000,
    b"X-Request-ID: \x01\x02",
    b"X-Forwarded-For: " + b"1," * 2000,
    b"traceparent: 00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00",
    b" folded",
    b"no colon",
    b"X: " + b"y" * 70_000,
    b"\0: \0",
)
SIZES = (b"0", b"1", b"5", b"ffffffff", b"ffffffffffffffffff", b"-1", b"+5", b"0x5", b" 5", b"")
EXTENSIONS = (b"", b"", b";a=b", b';a="' + b"x" * 500 + b'"', b" ", b";" * 20_000)
TRAILERS = (b"", b"A: b\r\n", b"A: b\r\n" * 20_000, b"Content-Length: 5\r\n", b"a" * 200_000, b"\0")
MANY = 100
PIPELINED = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def head(chance: Random) -> tuple[bytes, ...]:
    """A request whose line and headers are chosen and changed at random; it may not be whole."""
    line = b" ".join((chance.choice(METHODS), chance.choice(PATHS), chance.choice(VERSIONS)))
    lines = [line, *chance.sample(LINES, chance.randint(0, 8))]
    if chance.random() < 0.7:
        lines.insert(1, LINES[0])
    data = chance.choice((b"\r\n", b"\r\n", b"\r\n", b"\n")).join([*lines, b"", b""])
    body = chance.choice((b"", b"", b"hello", PIPELINED, b"\0" * 1000))
    return pieces(sometimes(data, chance, 0.4) + body, chance)


def trailers(chance: Random) -> tuple[bytes, ...]:
    """An upload in chunks whose framing is odd: sizes, extensions, trailers, what comes behind."""
    kind = "multipart/form-data; boundary=a-boundary"
    path = chance.choice(("/upload", "/batch-upload", "/blur/", "/health", "/nowhere"))
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}"]
    lines += ["Transfer-Encoding: chunked"] * chance.choice((1, 1, 1, 2))
    lines += chance.choice(
        ([], [], ["Content-Length: 7"], ["Trailer: A"], ["Expect: 100-continue"])
    )
    start = "\r\n".join([*lines, "", ""]).encode()
    body = chunked(simple_form({}, small_picture(chance)), chance)
    odd = chance.choice(SIZES) + chance.choice(EXTENSIONS) + b"\r\n"
    match chance.randrange(5):
        case 0:
            body += odd + b"hello\r\n"
        case 1:
            body = mutated(body, chance)
        case 2:
            body = odd + body
        case _:
            pass
    end = b"0" * chance.choice((1, 1, 1, 100)) + chance.choice(EXTENSIONS) + b"\r\n"
    end += chance.choice(TRAILERS) * chance.choice((1, 1, 1, 1, 1, 1, 1, 1, 3, MANY)) + b"\r\n"
    behind = chance.choice((b"", b"", PIPELINED, PIPELINED * 50, chance.randbytes(200)))
    return pieces(start + body + sometimes(end, chance, 0.2) + behind, chance)
