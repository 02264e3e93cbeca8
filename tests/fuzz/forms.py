"""Forms (RFC 7578): right ones, odd ones and broken ones, in requests that are whole."""

from random import Random

from tests.fuzz.attempt import request
from tests.fuzz.mutation import sometimes
from tests.fuzz.seeds import small_picture

ROUTES = {"/upload": "file", "/batch-upload": "files", "/blur/": "picture"}
BOUNDARIES = (
    "a-boundary",
    "----WebKitFormBoundary7MA4YWxkTrZu0gW",
    "x",
    "a b c",
    "=_'()+,-./:=?",
    "0" * 70,
    "0" * 500,
    "--",
    "",
    "ü",
)
CONTENT_TYPES = (
    'multipart/form-data; boundary="{}"',
    "multipart/form-data; boundary={}",
    "multipart/form-data; boundary={0}; boundary={0}x",
    "Multipart/Form-Data;boundary={}; charset=utf-8",
    "multipart/mixed; boundary={}",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary*=utf-8''{}",
    "text/plain; boundary={}",
    "",
)
NAMES = (
    "file",
    "files",
    "picture",
    "style",
    "targets",
    "metadata",
    "nonsense",
    "",
    "a" * 9000,
    "file\0",
    "ﬁle",
    "__proto__",
)
FILENAMES = (
    "a.jpg",
    "",
    "../../etc/passwd",
    "a" * 5000,
    "photo\u202egpj.exe",
    "a\0b.png",
    'a"b.jpg',
    "ä.jpg",
    "\ud83d".encode("utf-8", "surrogatepass").decode("latin-1"),
)
DISPOSITIONS = (
    'form-data; name="{name}"; filename="{filename}"',
    'form-data; name="{name}"',
    "form-data; name={name}; filename*=utf-8''{filename}",
    'form-data; name="{name}"; filename="{filename}"; filename*=UTF-8\'\'%e2%82%ac%00.jpg',
    'form-data; filename="{filename}"; name="{name}"',
    'form-data; filename="{filename}"',
    'attachment; name="{name}"; filename="{filename}"',
    'form-data; name="{name}"; name="style"; filename="{filename}"',
    "form-data; name*=iso-2022-kr'x'%1b$)C{name}; filename=x",
    'form-data; name="{name}; filename="{filename}',
    "form-data" + "; a=b" * 500,
    "",
)
EXTRA_LINES = (
    "Content-Type: image/jpeg",
    "Content-Type: multipart/mixed; boundary=inner",
    "Content-Transfer-Encoding: base64",
    "Content-Length: 3",
    "X: " + "y" * 9000,
    "no colon",
    ": no name",
    "Folded: a\r\n b",
    "Content-Disposition: form-data; name=style",
)


def form(chance: Random) -> tuple[bytes, ...]:
    """A request with a form, which is whole as HTTP, whatever its body is."""
    route = chance.choice(list(ROUTES))
    boundary = chance.choice(BOUNDARIES) if chance.random() < 0.4 else BOUNDARIES[0]
    kind = chance.choice(CONTENT_TYPES) if chance.random() < 0.3 else CONTENT_TYPES[0]
    body = sometimes(_body(ROUTES[route], boundary.encode("latin-1", "replace"), chance), chance)
    return request("POST", route, {"Content-Type": kind.format(boundary)}, body, chance)


def simple_form(
    fields: dict[str, str], picture: bytes, field: str = "file", boundary: bytes = b"a-boundary"
) -> bytes:
    """The body of a form as a browser sends it."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (boundary, name.encode(), text.encode("utf-8", "surrogatepass"))
        for name, text in fields.items()
    ]
    head = b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="a.jpg"\r\n\r\n'
    return (
        b"".join(parts) + head % (boundary, field.encode()) + picture + b"\r\n--%b--\r\n" % boundary
    )


def _body(field: str, boundary: bytes, chance: Random) -> bytes:
    parts = [_part(field, chance) for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 120)))]
    newline = chance.choice((b"\r\n", b"\r\n", b"\r\n", b"\n"))
    between = newline + b"--" + boundary + newline
    preamble = chance.choice((b"", b"", b"", b"\r\n", b"a preamble", b"\0" * 100))
    epilogue = chance.choice((b"--\r\n", b"--", b"", b"--\r\nan epilogue", b"--\r\n" + b"x" * 5000))
    start = preamble + between if preamble else between[len(newline) :]
    return start + between.join(parts) + newline + b"--" + boundary + epilogue


def _part(field: str, chance: Random) -> bytes:
    usual = chance.random() < 0.6
    name = field if usual else chance.choice(NAMES)
    filename = chance.choice(FILENAMES)
    template = DISPOSITIONS[0] if usual else chance.choice(DISPOSITIONS)
    lines = ["Content-Disposition: " + template.format(name=name, filename=filename)]
    lines += chance.sample(EXTRA_LINES, chance.choice((0, 0, 1, 2, 3)))
    lines += ["A: b"] * chance.choice((0, 0, 0, 40))
    chance.shuffle(lines)
    content = chance.choice(
        (small_picture(chance), b"", b"mosaic", b"\r\n--", chance.randbytes(99))
    )
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + content
