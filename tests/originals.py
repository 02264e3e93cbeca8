"""Originals as they were sent, out of the store that keeps them encrypted."""

from pathlib import Path

from blurline.imaging.kind import Kind
from blurline.settings import load_settings
from blurline.storage.objects import open_store
from blurline.storage.vault import OriginalsVault, open_vault


def vault_in(data_dir: Path) -> OriginalsVault:
    """The vault of a service whose store and master key are in this folder."""
    settings = load_settings(data_dir=data_dir)
    return open_vault(settings, open_store(settings))


def original_of(data_dir: Path, job_id: str, kind: Kind = Kind.JPEG) -> bytes | None:
    """The picture as it was sent, None if it can't be read any more."""
    return vault_in(data_dir).get(job_id, kind)
