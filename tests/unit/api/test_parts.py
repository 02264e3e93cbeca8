"""A multipart body is taken apart alike however it is cut into pieces, and within its bounds."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurline.api.errors import RequestError
from blurline.api.forms import ALL_TEXT_BYTES, FORM_OVERHEAD
from blurline.api.multipart import Form, PartLimits, read_form
from blurline.api.parts import HEAD_LINES, LONGEST_BOUNDARY, LONGEST_PADDING
from blurline.api.spool import Spool, SpooledFile
from blurline.stages.options import LONGEST_ZONES

HEAD_BYTES = 1000
LIMITS = PartLimits(10, HEAD_BYTES, {"zones": 50}, 20, 80)
TYPE = b"multipart/form-data; boundary=b"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2


def part(content: bytes, disposition: bytes = b'name="a"', more: bytes = b"") -> bytes:
    """A part with the boundary before it."""
    head = b"\r\n--b\r\nContent-Disposition: form-data; " + disposition
    return head + b"\r\n" + more + b"\r\n" + content


END = b"\r\n--b--\r\n"


async def read(pieces: list[bytes], content_type: bytes) -> tuple[Form, list[tuple[str, bytes]]]:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    with Spool(1 << 24, 1 << 24).request() as spooled:
        form = await read_form(chunks(), content_type, spooled, LIMITS, "file")
        return form, [
            (name, await value.read() if isinstance(value, SpooledFile) else value.encode())
            for name, value in form.multi_items()
        ]


def items(body: bytes, content_type: bytes = TYPE, size: int = 1 << 16) -> list[tuple[str, bytes]]:
    """Names and contents of a body that comes in pieces of that size."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return asyncio.run(read(pieces, content_type))[1]


def filename(disposition: bytes) -> str:
    form, _ = asyncio.run(read([part(PNG, disposition) + END], TYPE))
    value = form["file"]
    assert isinstance(value, SpooledFile)
    return value.filename


def refused(body: bytes, content_type: bytes = TYPE) -> tuple[str, str]:
    with pytest.raises(RequestError) as caught:
        items(body, content_type)
    return caught.value.code, caught.value.message


MANY = part(b"x") + part(PNG, b'name="file"; filename="p.png"') + part(b"") + part(b"\r\n--c\r\n-")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 1000, 1 << 16])
def test_a_form_is_the_same_in_pieces_of_any_size(size: int) -> None:
    expected = [("a", b"x"), ("file", PNG), ("a", b""), ("a", b"\r\n--c\r\n-")]
    assert items(MANY + END, size=size) == expected
    assert items(MANY[2:] + END[:-2], size=size) == expected


@given(st.lists(st.binary(max_size=30)), st.integers(1, 40))
def test_any_content_comes_back_to_the_byte(contents: list[bytes], size: int) -> None:
    body = b"".join(part(content, b'name="file"; filename="x"') for content in contents[:10])
    safe = all(b"\r\n--b" not in content for content in contents)
    if safe:
        assert items(body + END, size=size) == [("file", content) for content in contents[:10]]


@given(st.binary(max_size=200), st.integers(1, 40))
def test_any_bytes_are_a_form_or_refused(body: bytes, size: int) -> None:
    for start in (b"", b"--b\r\n", MANY):
        try:
            items(start + body, size=size)
        except RequestError as error:
            assert error.code in ("bad_request", "no_file", "bad_option")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"A preamble.\r\nOf two lines." + MANY + END, id="preamble"),
        pytest.param(b"\r\n\r\n" + MANY + END, id="empty lines first"),
        pytest.param(MANY + END + b"An epilogue\r\n--b\r\n" + bytes(100_000), id="epilogue"),
        pytest.param(MANY.replace(b"--b\r\n", b"--b \t \r\n") + END, id="padding"),
        pytest.param(MANY.replace(b"form-data; ", b"form-data;\r\n  ") + END, id="folded"),
        pytest.param(MANY.replace(b"Content-Disposition", b"CONTENT-disposition") + END, id="case"),
        pytest.param(MANY.replace(b"form-data; ", b"form-data  ;") + END, id="blanks"),
        pytest.param(MANY.replace(b'name="', b'NAME = "') + END, id="blanks at the sign"),
    ],
)
def test_what_senders_may_write_differently_is_read(body: bytes) -> None:
    assert items(body)[:2] == [("a", b"x"), ("file", PNG)] or b"NAME" in body
    assert items(body, size=1) == items(body)
    assert [content for _, content in items(body)] == [b"x", PNG, b"", b"\r\n--c\r\n-"]


@pytest.mark.parametrize(
    "content_type",
    [
        b'multipart/form-data; boundary="b"',
        b"multipart/form-data ; Boundary = b ; charset=utf-8",
        b'multipart/form-data; charset="a;boundary=x"; boundary=b;',
    ],
)
def test_a_boundary_may_be_quoted_and_stand_anywhere(content_type: bytes) -> None:
    assert items(MANY + END, content_type)[0] == ("a", b"x")


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b"multipart/form-data; boundary=b; boundary=c",
        b'multipart/form-data; boundary="b',
        b"multipart/form-data; boundary=" + b"b" * (LONGEST_BOUNDARY + 1),
        b"multipart/form-data; " + b";" * 60_000,
        b"multipart/form-data; " + b'a="' * 20_000,
    ],
)
def test_a_boundary_that_is_none_is_refused(content_type: bytes) -> None:
    assert refused(MANY + END, content_type)[0] == "bad_request"


def test_a_boundary_of_the_longest_is_read() -> None:
    boundary = b"b" * LONGEST_BOUNDARY
    body = (MANY + END).replace(b"--b", b"--" + boundary)
    assert items(body, b"multipart/form-data; boundary=" + boundary)[1] == ("file", PNG)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (b'filename="caf\xc3\xa9.jpg"', "café.jpg"),
        (b'filename="caf\xe9.jpg"', "café.jpg"),
        (b"filename*=UTF-8''caf%C3%A9%20%22.jpg", 'café ".jpg'),
        (b"filename*=utf-8'fr'caf%C3%A9.jpg", "café.jpg"),
        (b"filename*=iso-8859-1''caf%E9.jpg", "café.jpg"),
        (b"filename=\"cafe.jpg\"; filename*=UTF-8''caf%C3%A9.jpg", "café.jpg"),
        (b"filename=cafe.jpg; filename*=UTF-8''caf%E9.jpg", "cafe.jpg"),
        (b"filename=\"cafe.jpg\"; filename*=utf-16''caf%C3%A9.jpg", "cafe.jpg"),
        (b"filename*=UTF-8''caf%E9.jpg", ""),
        (b"filename*=nonsense", ""),
        (b"filename*0*=UTF-8''caf; filename*1=e.jpg", ""),
        (rb'filename="a\"b;c.jpg"', 'a"b;c.jpg'),
        (rb'filename="C:\folder\a.jpg"', r"C:\folder\a.jpg"),
        (b"filename=plain name.jpg", "plain name.jpg"),
    ],
)
def test_a_file_is_called_what_its_sender_meant(said: bytes, name: str) -> None:
    assert filename(b'name="file"; ' + said) == name


@pytest.mark.parametrize(
    ("disposition", "more"),
    [
        (b'name="file"', b"Content-Type: image/png\r\n"),
        (b'name="file"', b"Content-Type: application/octet-stream\r\n"),
        (b'name="file"', b"Content-Type: text/plain\r\n"),
        (b'name="file"', b""),
        (b"name*=UTF-8''file", b"Content-Transfer-Encoding: BINARY\r\n"),
    ],
)
@pytest.mark.parametrize("content", [PNG, b"GIF89a\1\0\1\0", PNG[:60]])
def test_a_picture_without_a_file_name_is_a_file(
    disposition: bytes, more: bytes, content: bytes
) -> None:
    for size in (1, 1 << 16):
        assert items(part(content, disposition, more) + END, size=size) == [("file", content)]


def test_text_where_a_file_is_wanted_is_said_to_be_text() -> None:
    for text in (b"photo.jpg", b"x" * 5000, "é".encode() * 40):
        answer = refused(part(text, b'name="file"') + END)
        assert answer == ("no_file", "the field file holds text, not a file")


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (part(b"x" * 20) + part(b"x" * 21) + END, "bad_option", "longer than 20 bytes"),
        (part(b"x" * 51, b'name="zones"') + END, "bad_option", "zones is longer than 50 bytes"),
        (part(b"x" * 20) * 5 + END, "bad_option", "the texts of the form are longer than 80"),
        (part(b"x" * 100_000, b'name="%s"' % (b"n" * 90)) + END, "bad_option", "a field of"),
        (part(b"") * 11 + END, "too_many_files", "at most 10"),
        (part(b"", more=b"A: " + b"a" * HEAD_BYTES + b"\r\n") + END, "bad_request", "the head"),
        (part(b"", more=b"A: a\r\n" * 2) + END, "bad_request", "malformed"),
        (b"x" * (HEAD_BYTES + 3) + MANY + END, "bad_request", "malformed"),
        (part(b"").replace(b"--b", b"--b" + b" " * (LONGEST_PADDING + 1)), "bad_request", "malf"),
        (part(b"x").replace(b"--b", b"--bc") + END, "bad_request", "malformed"),
        (part(b"x", more=b"Content-Transfer-Encoding: base64\r\n") + END, "bad_request", "as it"),
        (part(b"x", b'name="a"; name="b"') + END, "bad_request", "malformed"),
        (part(b"x", b'name="a') + END, "bad_request", "malformed"),
        (part(b"x", b"filename=a") + END, "bad_request", "no name"),
        (part(b"x", more=b"no colon\r\n") + END, "bad_request", "malformed"),
        (part(b"x", more=b"Content-Disposition: a; name=b\r\n") + END, "bad_request", "malf"),
        (MANY, "no_file", "ends before"),
        (MANY + b"\r\n--b\r\nA: ", "no_file", "ends before"),
        (b"", "bad_request", "malformed"),
    ],
)
def test_what_is_too_much_or_no_form_is_refused_in_its_own_words(
    body: bytes, code: str, said: str
) -> None:
    refusal = refused(body)
    assert refusal[0] == code
    assert said in refusal[1]
    assert b"nnn" not in refusal[1].encode()


def test_headers_as_many_as_there_may_be_are_read() -> None:
    more = b"".join(b"X-%d: a\r\n" % number for number in range(HEAD_LINES - 1))
    assert items(part(b"x", more=more) + END) == [("a", b"x")]
    assert refused(part(b"x", more=more + b"Y: a\r\n") + END)[1].endswith(f"{HEAD_LINES} lines")


def test_the_texts_of_a_form_fit_into_what_a_request_may_have_beside_its_files() -> None:
    assert 2 * 2000 * len("[0.12345678901234567,]") < ALL_TEXT_BYTES < FORM_OVERHEAD
    assert LONGEST_ZONES < ALL_TEXT_BYTES
