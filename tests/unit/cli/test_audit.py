"""What `blurline audit verify` says of a trail in a real store, and how it ends."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from blurline.audit import Action, AuditTrail, DeletionReceipt, Event, issue_receipt
from blurline.certificate.signing import SigningKey, load_signing_key, public_key_place
from blurline.settings import load_settings
from blurline.storage import keys
from blurline.storage.objects import open_store
from blurline.storage.store import Store
from tests.commands import Cli, Ended
from tests.parts import S3Server


@pytest.fixture
def verify(cli: Cli) -> Cli:
    return partial(cli, "audit", "verify")


@dataclass
class Service:
    """The data folder of a service that has deleted jobs."""

    folder: Path
    store: Store
    key: SigningKey
    deleted: int = 0

    def delete(self) -> Path:
        """Delete a job; the file of its receipt."""
        self.deleted += 1
        job_id = f"{self.deleted:08x}-0000"
        line = AuditTrail(self.store).append([Event(Action.ORIGINAL_DELETED, job_id, "api")])
        receipt = DeletionReceipt(
            job_id, "2026-03-01T12:00:00.000Z", ("original",), line, "1", self.key.key_id
        )
        file = self.folder / f"receipt-{self.deleted}.json"
        file.write_bytes(issue_receipt(receipt, self.key))
        return file

    def replace(self, number: int, old: bytes, new: bytes) -> None:
        data = self.store.get(keys.audit(number))
        assert data is not None
        assert old in data
        self.store.put(keys.audit(number), data.replace(old, new), "application/x-ndjson")


@pytest.fixture
def service(tmp_path: Path) -> Service:
    folder = tmp_path / "data"
    store = open_store(load_settings(data_dir=folder))
    return Service(folder, store, load_signing_key(None, folder))


def test_a_whole_trail_is_valid(verify: Cli, service: Service) -> None:
    for _ in range(3):
        service.delete()
    end = verify("--data-dir", service.folder)
    assert end == Ended(0, "valid: 3 lines follow from each other\n", "")


def test_receipts_whose_lines_are_there_are_valid(verify: Cli, service: Service) -> None:
    receipts = [service.delete() for _ in range(3)]
    words = [word for receipt in receipts for word in ("--receipt", receipt)]
    end = verify(*words, "--data-dir", service.folder)
    assert (end.code, end.err) == (0, "")
    assert end.line.startswith("valid: 3 lines")
    assert "receipts" in end.line


def test_a_key_may_be_named(verify: Cli, service: Service, tmp_path: Path) -> None:
    receipt = service.delete()
    key = public_key_place(service.folder).rename(tmp_path / "elsewhere.pem")
    assert verify("--receipt", receipt, "--key", key, "--data-dir", service.folder).code == 0
    assert verify("--receipt", receipt, "--data-dir", service.folder).code == 2


def test_a_changed_line_is_found_and_said_where(verify: Cli, service: Service) -> None:
    for _ in range(4):
        service.delete()
    service.replace(2, b'"actor":"api"', b'"actor":"nobody"')
    end = verify("--data-dir", service.folder)
    assert (end.code, end.err) == (1, "")
    assert end.line.startswith("broken: object 3 ")


def test_a_removed_line_is_found_and_said_where(verify: Cli, service: Service) -> None:
    for _ in range(4):
        service.delete()
    service.store.delete(keys.audit(2))
    end = verify("--data-dir", service.folder)
    assert end.code == 1
    assert end.line.startswith("broken: object 2 ")


def test_bytes_behind_the_last_line_are_found_and_said_where(verify: Cli, service: Service) -> None:
    for _ in range(2):
        service.delete()
    service.replace(2, b"\n", b"\nhidden")
    end = verify("--data-dir", service.folder)
    assert (end.code, end.err) == (1, "")
    assert end.line.startswith("broken: object 2 ")


def test_an_object_beside_the_trail_is_found(verify: Cli, service: Service) -> None:
    service.delete()
    service.store.put("audit/elsewhere.jsonl", b"hidden", "text/plain")
    end = verify("--data-dir", service.folder)
    assert (end.code, end.err) == (1, "")
    assert end.line.startswith("foreign: 1 ")


def test_a_cut_off_end_is_shown_by_its_receipt_alone(verify: Cli, service: Service) -> None:
    service.delete()
    receipt = service.delete()
    service.store.delete(keys.audit(2))
    assert verify("--data-dir", service.folder).code == 0
    end = verify("--receipt", receipt, "--data-dir", service.folder)
    assert end.code == 1
    assert end.line.startswith(f"missing: the line that {receipt} names (job 00000002-0000")


def test_a_trail_that_is_gone_altogether_is_shown_by_a_receipt(
    verify: Cli, service: Service
) -> None:
    receipt = service.delete()
    service.store.delete(keys.audit(1))
    end = verify("--receipt", receipt, "--data-dir", service.folder)
    assert end.code == 1
    assert end.line.startswith("missing: ")


def test_every_finding_is_said(verify: Cli, service: Service) -> None:
    receipts = [service.delete() for _ in range(3)]
    service.replace(2, b'"actor":"api"', b'"actor":"nobody"')
    forged = json.loads(receipts[0].read_bytes())
    forged["receipt"]["removed"] = []
    receipts[0].write_text(json.dumps(forged, separators=(",", ":"), sort_keys=True))
    words = [word for receipt in receipts for word in ("--receipt", receipt)]
    end = verify(*words, "--data-dir", service.folder)
    assert end.code == 1
    starts = [line.partition(":")[0] for line in end.out.splitlines()]
    assert starts == ["altered", "broken", "missing", "missing"]


def test_a_receipt_of_another_service_is_not_believed(
    verify: Cli, service: Service, tmp_path: Path
) -> None:
    receipt = service.delete()
    load_signing_key(None, tmp_path / "other")
    key = public_key_place(tmp_path / "other")
    end = verify("--receipt", receipt, "--key", key, "--data-dir", service.folder)
    assert end.code == 1
    assert end.line.startswith(f"wrong key: {receipt}: ")


def test_a_file_that_is_no_receipt_can_not_be_checked(verify: Cli, service: Service) -> None:
    service.delete()
    other = service.folder / "other.json"
    other.write_text("{}")
    end = verify("--receipt", other, "--data-dir", service.folder)
    assert (end.code, end.out) == (2, "")
    assert end.line.startswith(f"blurline: {other}: the file is no signed receipt")
    other.unlink()
    end = verify("--receipt", other, "--data-dir", service.folder)
    assert (end.code, end.out) == (2, "")
    assert "No such file" in end.line


def test_where_nothing_was_deleted_there_is_nothing_to_check(verify: Cli, service: Service) -> None:
    end = verify("--data-dir", service.folder)
    assert (end.code, end.out) == (2, "")


def test_a_mistyped_folder_is_not_taken_for_an_empty_trail(verify: Cli, tmp_path: Path) -> None:
    end = verify("--data-dir", tmp_path / "nothing")
    assert (end.code, end.out) == (2, "")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.process
def test_a_trail_in_a_bucket_is_read(
    verify: Cli, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(data_dir=tmp_path)
    service = Service(tmp_path, open_store(settings), load_signing_key(None, tmp_path))
    receipt = service.delete()
    assert verify("--receipt", receipt, "--data-dir", tmp_path).code == 0
