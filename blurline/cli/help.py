"""Help texts, broken where the terminal ends and nowhere else."""

from inspect import cleandoc, getdoc

from typer import Typer


def reflow(app: Typer) -> None:
    """Give each command of the app, and of the apps in it, its docstring in unbroken paragraphs.

    Typer keeps the ends of lines that a docstring has, and breaks them where the terminal ends too.
    """
    for command in app.registered_commands:
        if command.callback is not None:
            command.help = unbroken(getdoc(command.callback) or "")
    for group in app.registered_groups:
        if group.typer_instance is not None:
            reflow(group.typer_instance)


def unbroken(text: str) -> str:
    """The text with one line for each paragraph, and for each line of indented ones, the examples.

    >>> unbroken("Blur\\\\npictures.\\\\n\\\\n    blurline redact")
    'Blur pictures.\\\\n\\\\n    blurline redact'
    """
    paragraphs = cleandoc(text).split("\n\n")
    return "\n\n".join(
        cleandoc(paragraph) if paragraph.startswith(" ") else " ".join(paragraph.split())
        for paragraph in paragraphs
    )
