"""Pictures to measure with, made from the sample photos."""

import re
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageEnhance, ImageOps

from blurline.cli.demo import SAMPLES
from blurline.errors import BlurlineError
from blurline.settings import Settings

VARIANTS = 16
QUALITY = 90
FEWEST = 48
"""Images that a run of any size has at least, since a worker of many threads must fill up."""


@dataclass(frozen=True, slots=True)
class Size:
    """A size of pictures, in pixels, and what it is called."""

    name: str
    width: int
    height: int

    def share_of(self, images: int) -> int:
        """So many images of 1280 x 720, or as many of this size as have as many pixels."""
        return min(images, max(FEWEST, images * 1280 * 720 // (self.width * self.height)))


SIZES = (Size("720p", 1280, 720), Size("1080p", 1920, 1080), Size("12mp", 4000, 3000))
SIZE_HELP = "720p, 1080p, 12mp, WIDTHxHEIGHT, or all for the three of them."


def sizes(text: str) -> tuple[Size, ...]:
    """The sizes that somebody asked for, see `SIZE_HELP`.

    Raises:
        BlurlineError: there is no such size.
    """
    if text == "all":
        return SIZES
    if named := tuple(size for size in SIZES if size.name == text.lower()):
        return named
    if numbers := re.fullmatch(r"(\d{2,5})x(\d{2,5})", text):
        return (Size(text, int(numbers[1]), int(numbers[2])),)
    raise BlurlineError(f"--size: there is no {text!r}; give {SIZE_HELP}")


def one_size(text: str) -> Size:
    """The size that somebody asked for, where only one can be measured.

    Raises:
        BlurlineError: there is no such size, or it is several.
    """
    first, *others = sizes(text)
    if others:
        raise BlurlineError("--size: this measures one size at a time")
    return first


def make_photos(size: Size, settings: Settings) -> list[bytes]:
    """JPEGs of that size: crops of the samples, mirrored and of different brightness."""
    folder = settings.model_dir.parent / "samples"
    sources = [Image.open(sample.pull(folder)).convert("RGB") for sample in SAMPLES]
    photos = []
    for variant in range(VARIANTS):
        source = sources[variant % len(sources)]
        # The part of the source that is cut out moves down from variant to variant.
        fitted = ImageOps.fit(
            source,
            (size.width, size.height),
            Image.Resampling.LANCZOS,
            centering=(0.5, variant / (VARIANTS - 1)),
        )
        image = ImageOps.mirror(fitted) if variant % 4 >= 2 else fitted
        image = ImageEnhance.Brightness(image).enhance(0.85 + 0.3 * variant / VARIANTS)
        file = BytesIO()
        image.save(file, "JPEG", quality=QUALITY)
        photos.append(file.getvalue())
    return photos
