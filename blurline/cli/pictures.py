"""Where the results of pictures go: each one its own name, whose ending says what it is."""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from blurline.cli.walk import KIND_OF_ENDING, Picture
from blurline.imaging.kind import Kind


@dataclass(frozen=True, slots=True)
class Task:
    """A picture, and the file that its result becomes.

    `is_single`: the caller named the very file, whose ending may ask for another kind.
    """

    picture: Picture
    result: Path
    is_single: bool = False

    @property
    def is_misnamed(self) -> bool:
        """Whether the picture's ending says another kind than its content."""
        said = KIND_OF_ENDING.get(self.picture.path.suffix.lower())
        return said is not None and self.picture.kind not in (said, None)


def with_results(
    pictures: list[Picture], source: Path, target: Path, written: Callable[[Kind], Kind]
) -> list[Task]:
    """Each picture with a result of its own in the folder `target`, in the order of the pictures.

    The result keeps the picture's name if the ending says its kind; otherwise it gets the right
    ending. No two results have names that differ only in upper and lower case, or in how letters
    are put together, so that they may be copied to any file system.

    Args:
        source: the folder that the pictures lie in, at any depth.
        written: the kind that a picture of some kind is written as.
    """
    results: dict[Path, Path] = {}
    taken: set[str] = set()

    def take(picture: Picture, names: Iterator[str]) -> bool:
        place = picture.path.relative_to(source).parent
        for name in names:
            key = unicodedata.normalize("NFC", str(place / name)).casefold()
            if key not in taken:
                taken.add(key)
                results[picture.path] = target / place / name
                return True
        return False

    kinds = {picture.path: picture.kind and written(picture.kind) for picture in pictures}
    # Whoever may keep its name has it before others get it as a new one.
    others = [
        picture
        for picture in pictures
        if not (_keeps_its_name(picture, kinds) and take(picture, iter([picture.path.name])))
    ]
    for picture in others:
        take(picture, _names(picture.path.name, kinds[picture.path]))
    return [Task(picture, results[picture.path]) for picture in pictures]


def named(name: str, kind: Kind | None) -> str:
    """The name with an ending that says `kind`; without a kind it stays.

    >>> named("a.JPG", Kind.JPEG), named("a.gif", Kind.PNG), named("a.jpg_large", Kind.JPEG)
    ('a.JPG', 'a.png', 'a.jpg_large.jpg')
    """
    ending = Path(name).suffix
    said = KIND_OF_ENDING.get(ending.lower())
    if kind is None or said is kind:
        return name
    return f"{name.removesuffix(ending) if said else name}.{kind.extension}"


def _keeps_its_name(picture: Picture, kinds: dict[Path, Kind | None]) -> bool:
    return named(picture.path.name, kinds[picture.path]) == picture.path.name


def _names(name: str, kind: Kind | None) -> Iterator[str]:
    """Names for a result, the best first."""
    yield named(name, kind)
    ending = f".{kind.extension}" if kind else ""
    yield f"{name}{ending}"
    yield from (f"{name}-{number}{ending}" for number in count(2))
