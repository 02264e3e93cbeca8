"""What stages that need no network have in common."""

from blurline.stages.optiontable import Option, Values, number

STRENGTH = Option(
    "strength",
    number("strength", 0, 1),
    "1",
    "share of the effect in the result, from 0, the picture as it is, to 1",
    example="0.7",
)


class Classical:
    """A stage that keeps a picture's size, needs no network, and takes any kind of file.

    Transparency stays as it is.
    """

    __slots__ = ()

    @property
    def networks(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def models(self, values: Values) -> frozenset[str]:
        """None."""
        return frozenset()

    def check(self, values: Values) -> None:
        """Return: any options go together."""

    def output_size(self, width: int, height: int, values: Values) -> tuple[int, int]:
        """That of the picture."""
        return width, height
