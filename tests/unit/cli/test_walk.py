"""What in a folder counts as a picture, what is left out and why, and how results are named."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from blurline.cli.pictures import named, with_results
from blurline.cli.walk import JOURNAL, LeftOut, Picture, counted, pictures_in, walk
from blurline.errors import PictureError
from blurline.files import write_whole
from blurline.imaging.kind import Kind
from tests.heic_files import heic
from tests.parts import drawing, picture_file

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    return place


@pytest.fixture
def deep(folder: Path) -> Iterator[Path]:
    """A folder in which there may be a tree that Python, and so pytest, can't remove."""
    yield folder
    subprocess.run(["/bin/rm", "-rf", folder], check=True)


def put(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def seen(folder: Path, results: Path | None = None) -> dict[str, str]:
    """Everything below the folder by its path: its kind, or why it is left out or unreadable."""
    found = walk(folder, results)
    told = {str(one.path.relative_to(folder)): str(one.kind) for one in found.pictures}
    for reason, paths in found.left_out.items():
        told |= {str(path.relative_to(folder)): reason.name for path in paths}
    return told | {str(path.relative_to(folder)): said for path, said in found.unreadable}


@pytest.mark.parametrize(
    "name",
    [
        *("a.jpg", "b.JPG", "c.jfif", "d.jpe", "e.mpo", "f.jpg.jpeg", "g", "h.jpg_large"),
        *("i.webp", "k.jpg~", "l.jif", "m.apng", "n.dib", "o.heic", "q.txt", ".hidden"),
        *("ü.Jpeg", "._real.jpg"),
    ],
)
def test_a_picture_is_one_by_its_content_whatever_its_name(
    folder: Path, small_jpeg: bytes, name: str
) -> None:
    put(folder, **{name: small_jpeg})
    assert seen(folder) == {name: "jpeg"}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"words", LeftOut.NO_PICTURE),
        ("a", b"", LeftOut.NO_PICTURE),
        ("a.pdf", b"%PDF-1.7", LeftOut.OTHER_KIND),
        ("a.psd", b"8BPS\0\1", LeftOut.OTHER_KIND),
        ("a.mp4", b"\0\0\0\x18ftypisom" + bytes(12), LeftOut.OTHER_KIND),
        ("._a.jpg", APPLE_DOUBLE, LeftOut.COMPANION),
        ("._a.jpg", bytes(4096), LeftOut.COMPANION),
        ("a.jpg", APPLE_DOUBLE, LeftOut.COMPANION),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0", LeftOut.COMPANION),
        (".DS_Store", b"\0\0\0\1Bud1", LeftOut.COMPANION),
        (".blurline-part-0123", b"\xff\xd8\xff", LeftOut.COMPANION),
    ],
)
def test_what_is_left_out_is_counted_with_its_reason(
    folder: Path, name: str, content: bytes, reason: LeftOut
) -> None:
    put(folder, **{name: content})
    assert seen(folder) == {name: reason.name}
    with pytest.raises(PictureError, match=reason):
        pictures_in(folder)


@pytest.mark.parametrize(
    "name", ["__MACOSX", ".AppleDouble", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found"]
)
def test_folders_of_companions_are_not_looked_through(
    folder: Path, small_jpeg: bytes, name: str
) -> None:
    put(folder, **{f"{name}/a.jpg": small_jpeg, "a.jpg": small_jpeg})
    assert seen(folder) == {name: "COMPANION", "a.jpg": "jpeg"}


@pytest.mark.parametrize("content", [b"", b"words", b"%PDF-1.7"])
def test_what_is_named_like_a_picture_and_is_none_fails_in_its_turn(
    folder: Path, content: bytes
) -> None:
    put(folder, **{"bad.png": content})
    assert seen(folder) == {"bad.png": "None"}


def test_linked_files_and_folders_are_done_and_each_folder_once(
    folder: Path, tmp_path: Path, small_jpeg: bytes
) -> None:
    put(tmp_path / "elsewhere", **{"b.jpg": small_jpeg, "deep/c.jpg": small_jpeg})
    put(folder, **{"z/a.jpg": small_jpeg})
    (folder / "file.jpg").symlink_to(tmp_path / "elsewhere/b.jpg")
    (folder / "a-link").symlink_to(tmp_path / "elsewhere")
    (folder / "again").symlink_to(tmp_path / "elsewhere")
    (folder / "before").symlink_to(folder / "z")
    (folder / "z/up").symlink_to(folder)
    (folder / "nowhere.jpg").symlink_to(tmp_path / "nothing")
    (folder / "round").symlink_to(folder / "round")

    assert seen(folder) == {
        "z/a.jpg": "jpeg",
        "file.jpg": "jpeg",
        "a-link/b.jpg": "jpeg",
        "a-link/deep/c.jpg": "jpeg",
        "again": "REPEATED",
        "before": "REPEATED",
        "z/up": "REPEATED",
        "nowhere.jpg": "NOWHERE",
        "round": "NOWHERE",
    }


def test_pipes_sockets_and_devices_are_never_opened(folder: Path, small_jpeg: bytes) -> None:
    put(folder, **{"a.jpg": small_jpeg})
    os.mkfifo(folder / "pipe.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        # A socket's path is short, whatever folder tests have.
        before = Path.cwd()
        os.chdir(folder)
        listener.bind("socket.jpg")
        os.chdir(before)
        left_out = dict.fromkeys(("pipe.jpg", "device.jpg", "socket.jpg"), "NO_FILE")
        assert seen(folder) == {"a.jpg": "jpeg", **left_out}


def test_the_folder_of_the_results_is_left_out_and_so_is_every_other_one(
    folder: Path, small_jpeg: bytes
) -> None:
    files = ("a.jpg", "out/a.jpg", "out/sub/b.jpg", f"older/{JOURNAL}", "older/a.jpg")
    put(folder, **dict.fromkeys(files, small_jpeg))
    (folder / "link").symlink_to(folder / "out")

    told = seen(folder, folder / "out")

    assert told == {"a.jpg": "jpeg", "out": "RESULTS", "older": "RESULTS", "link": "RESULTS"}
    assert seen(folder / "older")["a.jpg"] == "jpeg"


@pytest.mark.process
@pytest.mark.usefixtures("deep")
def test_names_that_are_no_text_and_folders_too_deep_to_open_are_told(
    folder: Path, small_jpeg: bytes
) -> None:
    odd = os.fsdecode(b"\xff\xfe.jpg")
    put(folder, **{odd: small_jpeg, "deep/a.jpg": small_jpeg})
    descriptor = os.open(folder / "deep", os.O_RDONLY)
    name = "d" * 250
    for _ in range(20):
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)

    found = walk(folder)

    assert [one.path.name for one in found.pictures] == ["a.jpg", odd]
    assert [said for _, said in found.unreadable] == ["File name too long"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told(folder: Path, small_jpeg: bytes) -> None:
    put(folder, **{"a.jpg": small_jpeg, "shut/b.jpg": small_jpeg, "c.jpg": small_jpeg})
    (folder / "shut").chmod(0)
    (folder / "c.jpg").chmod(0)
    told = seen(folder)
    (folder / "shut").chmod(0o700)
    assert told == {"a.jpg": "jpeg", "shut": "Permission denied", "c.jpg": "Permission denied"}


@pytest.mark.process
@pytest.mark.usefixtures("deep")
def test_a_tree_deeper_than_python_may_recurse_is_looked_through(
    folder: Path, small_jpeg: bytes
) -> None:
    deep = folder.joinpath(*["d"] * (sys.getrecursionlimit() + 200)) / "a.jpg"
    write_whole(deep, small_jpeg)
    assert [one.path for one in walk(folder).pictures] == [deep]


def results_of(*names: str, content: dict[str, Kind] | None = None) -> list[str]:
    """The results of pictures of these names, whose kind is JPEG unless it is given."""
    source, target = Path("in"), Path("out")
    pictures = [Picture(source / name, (content or {}).get(name, Kind.JPEG)) for name in names]
    tasks = with_results(pictures, source, target, lambda kind: kind.written)
    assert [task.picture for task in tasks] == pictures
    return [str(task.result.relative_to(target)) for task in tasks]


@pytest.mark.parametrize(
    ("name", "kind", "result"),
    [
        ("a.JPG", Kind.JPEG, "a.JPG"),
        ("a.jfif", Kind.JPEG, "a.jfif"),
        ("a.b.jpeg", Kind.JPEG, "a.b.jpeg"),
        ("a.png", Kind.JPEG, "a.jpg"),
        ("a.jpg", Kind.PNG, "a.png"),
        ("a.gif", Kind.PNG, "a.png"),
        ("a", Kind.WEBP, "a.webp"),
        (".jpg", Kind.JPEG, ".jpg.jpg"),
        ("2026-01-02.10", Kind.TIFF, "2026-01-02.10.tif"),
        ("a.jpg_large", Kind.JPEG, "a.jpg_large.jpg"),
        ("a.bmp", None, "a.bmp"),
    ],
)
def test_the_ending_of_a_result_says_what_it_is(name: str, kind: Kind | None, result: str) -> None:
    assert named(name, kind) == result


def test_no_two_results_share_a_name_on_any_file_system() -> None:
    gifs = dict.fromkeys(("a.gif", "a.GIF", "A.gif"), Kind.GIF)
    assert results_of("a.gif", content=gifs) == ["a.png"]
    assert results_of("a.gif", "a.GIF", "A.gif", content=gifs) == [
        "a.png",
        "a.GIF.png",
        "A.gif-2.png",
    ]
    content = {"a.png": Kind.PNG, **gifs}
    assert results_of("a.gif", "a.png", content=content) == ["a.gif.png", "a.png"]
    assert results_of("r.jpg", "r.png", "r.webp") == ["r.jpg", "r.png.jpg", "r.webp.jpg"]
    assert results_of("a.jpg", "a.JPG", "A.jpg") == ["a.jpg", "a.JPG.jpg", "A.jpg-2.jpg"]
    assert results_of("Sub/a.jpg", "sub/a.jpg") == ["Sub/a.jpg", "sub/a.jpg.jpg"]
    assert results_of("é.jpg", "e\u0301.jpg") == ["é.jpg", "e\u0301.jpg.jpg"]
    assert results_of("x.png", "x.png.jpg", "x.jpg") == ["x.png-2.jpg", "x.png.jpg", "x.jpg"]


def test_the_summary_counts_by_reason() -> None:
    left_out = {LeftOut.COMPANION: [Path("a")] * 2, LeftOut.NO_PICTURE: [Path("b")]}
    assert counted(left_out) == "2 (companions of other files), 1 (no pictures)"


def test_every_kind_is_known_by_an_ending_and_by_its_content(folder: Path) -> None:
    image = Image.fromarray(drawing(16, 16))
    for kind in set(Kind) - {Kind.HEIC}:
        put(folder, **{f"a.{kind.extension}": picture_file(image, kind.upper())})
    put(folder, **{"a.heic": heic(drawing(32, 32))})
    found = walk(folder)
    assert {one.path.suffix[1:]: one.kind for one in found.pictures} == {
        kind.extension: kind for kind in (one.kind for one in found.pictures) if kind
    }
    assert len(found.pictures) == len(Kind)
