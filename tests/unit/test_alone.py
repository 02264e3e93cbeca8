"""What unit tests may not do."""

import socket
import subprocess

import pytest

from tests.unit.conftest import done


def test_a_unit_test_that_starts_a_process_or_opens_a_connection_fails() -> None:
    with pytest.raises(PermissionError, match="subprocess"):
        subprocess.run(["/bin/true"])
    with pytest.raises(PermissionError, match="connect"):
        socket.create_connection(("127.0.0.1", 9))
    assert done == ["subprocess.Popen", "socket.connect"]
    done.clear()
