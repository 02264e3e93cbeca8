"""`blurline keys`: the files of keys that a service needs, and API keys, made and shown once."""

import os
from pathlib import Path
from typing import Annotated

import typer

from blurline.access.apikeys import add_line, new_key
from blurline.certificate import keyfile
from blurline.certificate.signing import load_signing_key, public_key_place
from blurline.errors import SettingsError
from blurline.settings import load_settings
from blurline.storage.masterkeys import load_master_keys

API_KEYS = "api.keys"

app = typer.Typer(help="Keys of the service and of its callers.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Keys of the service and of its callers. See docs/access.md and docs/privacy.md."""


@app.command()
def init(
    owner: Annotated[
        int | None,
        typer.Option(
            help="Number of the user that the service runs as, who gets the files; only root can "
            "give them away. Default: you.",
        ),
    ] = None,
) -> None:
    """Make the files of keys in the folder `keys` of DATA_DIR; those there stay.

    Keep a copy of them, apart from the store: without master.key nobody can read the originals.

        DATA_DIR=secrets blurline keys init
    """
    data_dir = load_settings().data_dir
    load_master_keys(None, data_dir)
    load_signing_key(None, data_dir)
    folder = data_dir / keyfile.FOLDER
    keyfile.made_once(folder / API_KEYS, lambda: b"")
    if owner is not None:
        _give_away(folder, owner, public_key_place(data_dir))
    for name, purpose in (
        ("master.key", "MASTER_KEY_FILE: originals are encrypted by it"),
        ("signing.pem", "SIGNING_KEY: certificates and receipts are signed by it"),
        ("signing.pub.pem", "for everybody who checks a certificate or a receipt"),
        (API_KEYS, "API_KEYS_FILE: who may use the service; `blurline keys new` adds to it"),
    ):
        typer.echo(f"{name:16} {purpose}")


def _give_away(folder: Path, owner: int, public: Path) -> None:
    try:
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner, -1)
        # Everybody may take the public key out of the folder, but not look what else is in it.
        folder.chmod(0o711)
        public.chmod(0o644)
    except OSError as error:
        raise SettingsError(f"{folder}: {error.strerror or 'not usable'}") from error


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

        blurline keys new camera-7 --scopes submit,read
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
