"""The kinds of picture files."""

from enum import StrEnum


class Kind(StrEnum):
    """A kind of picture file that is read."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    BMP = "bmp"
    TIFF = "tiff"
    GIF = "gif"
    AVIF = "avif"

    @property
    def extension(self) -> str:
        """Ending of a file name, without the dot."""
        return {Kind.JPEG: "jpg", Kind.TIFF: "tif"}.get(self, self.value)

    @property
    def content_type(self) -> str:
        """The media type by the IANA registry."""
        return f"image/{self.value}"

    @property
    def written(self) -> "Kind":
        """The kind that a picture of this kind is written as.

        A GIF's palette can't hold a redacted picture without new dither noise, so it becomes PNG.
        """
        return Kind.PNG if self is Kind.GIF else self
