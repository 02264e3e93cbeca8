"""Picture files on disk, and where their results go."""

from pathlib import Path

from blurline.errors import PictureError
from blurline.imaging.kind import Kind

KIND_OF_ENDING = {
    ".jpg": Kind.JPEG,
    ".jpeg": Kind.JPEG,
    ".png": Kind.PNG,
    ".webp": Kind.WEBP,
    ".bmp": Kind.BMP,
    ".tif": Kind.TIFF,
    ".tiff": Kind.TIFF,
    ".gif": Kind.GIF,
    ".avif": Kind.AVIF,
}


def pictures_in(source: Path) -> list[Path]:
    """The file itself, or the pictures in the folder and below it, by name.

    Raises:
        PictureError: there is no such file, or no picture in the folder.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise PictureError(f"there is no file or folder {source}", code="no_file")
    found = [
        path
        for path in sorted(source.rglob("*"))
        if path.suffix.lower() in KIND_OF_ENDING and path.is_file()
    ]
    if not found:
        raise PictureError(
            f"there are no pictures in {source} ({', '.join(sorted(KIND_OF_ENDING))})",
            code="no_file",
        )
    return found


def with_results(files: list[Path], source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Each picture with its result; one whose name is taken by another's keeps its whole name."""
    pairs, taken = [], {_result(file, source, target) for file in files if not _is_gif(file)}
    for file in files:
        result = _result(file, source, target)
        if _is_gif(file) and result in taken:
            result = result.with_name(f"{file.name}.{Kind.PNG.extension}")
        pairs.append((file, result))
    return pairs


def _result(file: Path, source: Path, target: Path) -> Path:
    """Where the result goes; a GIF's result is a PNG and is named so."""
    if source.is_file():
        return target / _named(file) if target.is_dir() or not target.suffix else target
    return target / file.relative_to(source).parent / _named(file)


def _is_gif(file: Path) -> bool:
    return file.suffix.lower() == f".{Kind.GIF.extension}"


def _named(file: Path) -> str:
    return f"{file.stem}.{Kind.GIF.written.extension}" if _is_gif(file) else file.name
