"""What a service has kept in its data folder, and how pictures are shown."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from PIL import Image, ImageOps

from blurline.audit import AuditTrail, DeletionReceipt, read_receipt
from blurline.certificate.signing import load_public_key, public_key_place
from blurline.imaging.decode import Pixels
from blurline.jobs.job import JobSpec
from blurline.jobs.orders import find_order
from blurline.settings import load_settings
from blurline.storage.objects import open_store
from blurline.storage.vault import open_vault
from tests.parts import names_below


@dataclass(frozen=True)
class DataFolder:
    """The data folder of a service, and what can be told from it."""

    path: Path

    @property
    def key(self) -> Ed25519PublicKey:
        return load_public_key(public_key_place(self.path))

    @property
    def trail(self) -> AuditTrail:
        return AuditTrail(open_store(load_settings(data_dir=self.path)))

    def order(self, job_id: str) -> JobSpec:
        """The job as it was handed in."""
        settings = load_settings(data_dir=self.path)
        spec = find_order(open_vault(settings, open_store(settings)), job_id)
        assert spec is not None
        return spec

    def names(self) -> set[str]:
        """All objects of the store."""
        return names_below(self.path / "store")

    def naming(self, *words: bytes) -> set[str]:
        """The objects whose name or content has one of the words, but for the audit trail's."""
        store = self.path / "store"
        found = {name: name.encode() + (store / name).read_bytes() for name in self.names()}
        return {
            name
            for name, content in found.items()
            if not name.startswith("audit/") and any(word in content for word in words)
        }

    def receipt(self, answer: httpx.Response) -> DeletionReceipt:
        """The receipt that a deletion was answered with, proved by the service's key."""
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "application/json"
        return read_receipt(answer.content, self.key)


def shown(picture: bytes) -> Pixels:
    """The pixels as a viewer shows them."""
    return np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(picture))).convert("RGB"))
