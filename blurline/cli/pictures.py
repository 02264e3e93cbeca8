"""Picture files on disk."""

from pathlib import Path

from blurline.errors import PictureError

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


def pictures_in(source: Path) -> list[Path]:
    """The file itself, or the pictures in the folder and below it, by name.

    Raises:
        PictureError: there is no such file, or no picture in the folder.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise PictureError(f"there is no file or folder {source}", code="no_file")
    found = [path for path in sorted(source.rglob("*")) if path.suffix.lower() in ENDINGS]
    if not found:
        raise PictureError(
            f"there are no pictures in {source} ({', '.join(sorted(ENDINGS))})", code="no_file"
        )
    return found
