"""The kinds of picture files, and which of them a result has."""

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
    HEIC = "heic"

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
        Encoders of HEIC are under GPL, so it becomes JPEG.
        """
        return {Kind.GIF: Kind.PNG, Kind.HEIC: Kind.JPEG}.get(self, self)


class OutputFormat(StrEnum):
    """The kind that results are written as: that of the original, as far as it is written at all,
    or one for all."""

    SAME = "same"
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    AVIF = "avif"

    def of(self, kind: Kind) -> Kind:
        """The kind that a picture of `kind` is written as.

        >>> OutputFormat.SAME.of(Kind.HEIC), OutputFormat.PNG.of(Kind.HEIC)
        (<Kind.JPEG: 'jpeg'>, <Kind.PNG: 'png'>)
        """
        return kind.written if self is OutputFormat.SAME else Kind(self.value)
