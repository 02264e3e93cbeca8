"""The API against requests made from its own description by Schemathesis, where it is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.parts import environment_of, serving, settings_for, worker

SECONDS = 120


@pytest.mark.long
def test_no_request_that_fits_the_description_is_our_fault(redis_url: str, tmp_path: Path) -> None:
    tool = shutil.which("schemathesis")
    if tool is None:
        pytest.skip("schemathesis is not installed: pip install schemathesis")
    settings = settings_for(redis_url, tmp_path)
    # A worker, since `POST /blur/` rightly answers 503 without one.
    with serving(settings) as client, worker(environment_of(settings)):
        url = str(client.base_url).rstrip("/")
        command = [tool, "run", f"{url}/openapi.json", "--max-time", str(SECONDS), "--no-color"]
        command += ["--checks", "not_a_server_error,response_schema_conformance"]
        command += ["--generation-database", "none", "--request-timeout", "60"]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=5 * SECONDS
        )
    assert done.returncode == 0, done.stdout + done.stderr
