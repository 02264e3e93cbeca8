"""`blurline keys`: API keys, made and shown once."""

from pathlib import Path
from typing import Annotated

import typer

from blurline.access.apikeys import add_line, new_key
from blurline.errors import SettingsError
from blurline.settings import load_settings

app = typer.Typer(help="API keys: who may use the service, and for what.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """API keys: who may use the service, and for what. See docs/access.md."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is, such as camera-7.")],
    scopes: Annotated[
        str,
        typer.Option(
            help="What it is for, comma-separated: submit, read, read:original, delete, admin."
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            allow_dash=True,
            help="File of keys that it is added to; - prints the line for it instead. Default: "
            "API_KEYS_FILE.",
        ),
    ] = None,
) -> None:
    """Make an API key and print it, this once: the file holds only its hash.

    A service that runs knows the key at once. A second key of one name belongs to the same caller.

        blurline keys new camera-7 --scopes submit,read --file api.keys
    """
    path = file or load_settings().api_keys_file
    if path is None:
        raise SettingsError("name the file of keys: --file, or API_KEYS_FILE; - prints the line")
    key, line = new_key(name, scopes.split(","))
    if path == Path("-"):
        typer.echo(f"{key}\n{line}")
        return
    add_line(path, line)
    typer.echo(key)
    typer.echo(f"added to {path}; the key is not shown again", err=True)
