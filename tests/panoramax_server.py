"""What Panoramax's server does with a picture; runs in an environment with its packages.

    python panoramax_server.py URL FILE...

It has the pictures blurred by the server's own code, and prints a line of JSON for each: what that
got, and what the tag reader sees in the picture before and after.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from geopic_tag_reader import reader
from geovisio.utils.annotations import AnnotationCreationParameter
from geovisio.utils.pictures import createBlurredHDPicture


class Files:
    """Where the server keeps its pictures."""

    def __init__(self) -> None:
        self.written: dict[str, bytes] = {}

    def write(self, name: str, content: bytes) -> None:
        self.written[name] = bytes(content)


def tags(picture: bytes) -> dict:
    read = asdict(reader.readPictureMetadata(picture))
    unread = ("exif", "tagreader_warnings")
    return {name: value for name, value in read.items() if name not in unread}


def main(url: str, path: str) -> None:
    original = Path(path).read_bytes()
    files = Files()
    blurred = createBlurredHDPicture(files, url, original, "picture.jpg", keep_unblured_parts=True)
    answer = files.written["picture.jpg"]
    annotations = [
        AnnotationCreationParameter(**one, account_id=uuid4(), picture_id=uuid4())
        for one in blurred.metadata["annotations"]
    ]
    said = {
        "size": blurred.image.size,
        "orientation": blurred.image.getexif().get(0x0112, 1),
        "annotations": [one.model_dump(mode="json") for one in annotations],
        "before": tags(original),
        "after": tags(answer),
    }
    print(json.dumps(said, default=str))


for path in sys.argv[2:]:
    main(sys.argv[1], path)
