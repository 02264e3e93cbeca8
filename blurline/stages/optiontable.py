"""Options of a pipeline: each declared once, by the stage or family that reads it.

From the declaration follow the fields of the upload form, the flags of the command line, the API's
description of itself, `GET /pipelines` and the page of documents. What a caller writes is text; a
job carries what came of it as plain JSON, which is read at both ends of the queue.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

from blurline.errors import OptionError

LONGEST_TEXT = 4096
"""Characters of an option's text, unless it says otherwise."""

Values = Mapping[str, Any]
"""Options of one job by their names, as JSON has them."""

T = TypeVar("T")
_Word = TypeVar("_Word", bound=StrEnum)
Reader = Callable[[str, str, Values], T]
"""From a caller's text, the default's, and the values of the options before, to a value."""


@dataclass(frozen=True, slots=True)
class Option(Generic[T]):
    """One thing that a caller may choose.

    Attributes:
        name: of the form's field; the flag has dashes for its underscores.
        read: what the caller's text and the default make together, and the values of the options
            before this one. A text that is empty is not given. Raises `OptionError`; the result is
            such as JSON can hold.
        default: the text that counts where nobody says otherwise; a setting `DEFAULT_<NAME>` may
            say so.
        help: one sentence of what it does, with the range.
        example: a text that can be taken.
        words: all texts that can be taken, where they are few.
        longest: characters of the text.
        once: a comma may stand in its text, so that two fields must not pass for one.
        schema: what JSON Schema says beside it, for who writes clients.
    """

    name: str
    read: Reader[T]
    default: str
    help: str
    example: str = ""
    words: tuple[str, ...] = ()
    longest: int = LONGEST_TEXT
    once: bool = False
    schema: Mapping[str, Any] = field(default_factory=dict)

    def of(self, values: Values) -> T:
        """What the values say of it; its default where they say nothing, as older jobs do."""
        found = values.get(self.name)
        return self.read("", self.default, values) if found is None else cast("T", found)


class OptionTable(Mapping[str, Option[Any]]):
    """The options of a pipeline by name, in the order in which they are shown.

    One that several stages declare counts once: it is the same choice for all of them.
    """

    def __init__(self, options: Iterable[Option[Any]]) -> None:
        self._options: dict[str, Option[Any]] = {}
        for option in options:
            self._options.setdefault(option.name, option)

    def __getitem__(self, name: str) -> Option[Any]:
        return self._options[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def read(self, texts: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, Any]:
        """What the caller chose, and the defaults for what is not given.

        Args:
            texts: by option what the caller wrote; empty is not given.
            defaults: by option the text that counts instead of its own default.

        Raises:
            OptionError: there is no such option, or its text can't be taken; the message names
                those that there are.
        """
        unknown = sorted(name for name, text in texts.items() if text and name not in self)
        if unknown:
            raise OptionError(f"there is no option {unknown[0]} here; {self.told()}")
        values: dict[str, Any] = {}
        for option in self._options.values():
            text = texts.get(option.name, "")
            check_length(option.name, text, option.longest)
            default = defaults.get(option.name) or option.default
            values[option.name] = option.read(text, default, values)
        return values

    def told(self) -> str:
        """A clause that names the options."""
        return f"its options are {', '.join(self)}" if self._options else "it has no options"


def word(words: type[_Word], name: str) -> Reader[_Word]:
    """Reads one of the words, however it is capitalised."""

    def read(text: str, default: str, before: Values) -> _Word:
        try:
            return words((text or default).strip().lower())
        except ValueError as error:
            raise OptionError(f"{name} must be one of {', '.join(words)}") from error

    return read


def one_of(name: str, choices: Sequence[T]) -> Reader[T]:
    """Reads one of a few whole numbers or texts."""
    by_text = {str(choice): choice for choice in choices}

    def read(text: str, default: str, before: Values) -> T:
        try:
            return by_text[(text or default).strip().lower()]
        except KeyError as error:
            raise OptionError(f"{name} must be one of {', '.join(by_text)}") from error

    return read


def number(name: str, least: float, most: float) -> Reader[float]:
    """Reads a number from `least` to `most`."""

    def read(text: str, default: str, before: Values) -> float:
        try:
            value = float((text or default).strip())
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise OptionError(f"{name} must be a number from {least:g} to {most:g}")
        return value

    return read


def check_length(name: str, text: str, longest: int = LONGEST_TEXT) -> None:
    """Return if the text is not too long.

    Raises:
        OptionError: it is.
    """
    if len(text) > longest:
        raise OptionError(f"{name} may have at most {longest} characters")
