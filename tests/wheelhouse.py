"""A folder of wheels that takes the place of a registry."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest


def wheelhouse(
    folder: Path, contents: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The folder, all that pip knows for this test, with `tinynet==1.0` that holds the contents."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "tinynet-1.0-py3-none-any.whl", "w") as wheel:
        for member, content in contents.items():
            wheel.writestr(member, content)
        wheel.writestr(
            "tinynet-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinynet\nVersion: 1.0\n"
        )
        wheel.writestr(
            "tinynet-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("tinynet-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder
