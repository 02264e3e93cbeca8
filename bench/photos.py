"""Pictures to measure with, made from the sample photos."""

from io import BytesIO

from PIL import Image, ImageEnhance, ImageOps

from blurline.cli.demo import SAMPLES
from blurline.settings import Settings

VARIANTS = 16
QUALITY = 90


def make_photos(width: int, height: int, settings: Settings) -> list[bytes]:
    """JPEGs of that size: crops of the samples, mirrored and of different brightness."""
    folder = settings.model_dir.parent / "samples"
    sources = [Image.open(sample.pull(folder)).convert("RGB") for sample in SAMPLES]
    photos = []
    for variant in range(VARIANTS):
        source = sources[variant % len(sources)]
        # The part of the source that is cut out moves down from variant to variant.
        centring = (0.5, variant / (VARIANTS - 1))
        image = ImageOps.fit(source, (width, height), Image.Resampling.LANCZOS, centering=centring)
        if variant % 4 >= 2:
            image = ImageOps.mirror(image)
        image = ImageEnhance.Brightness(image).enhance(0.85 + 0.3 * variant / VARIANTS)
        file = BytesIO()
        image.save(file, "JPEG", quality=QUALITY)
        photos.append(file.getvalue())
    return photos
