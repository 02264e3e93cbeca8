"""Picture files on disk."""

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
