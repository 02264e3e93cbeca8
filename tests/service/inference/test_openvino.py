"""Networks of OpenVINO and the process that they run in."""

import subprocess
import sys

from tests.networks import file_of
from tests.parts import PATIENCE, ROOT

DROPPING = """
import signal, sys
from pathlib import Path
from blurline.inference.engine import InputFormat
from blurline.inference.openvino import OpenVinoEngine
from tests.parts import drawing
engines = [OpenVinoEngine(Path(sys.argv[1]), InputFormat("bgr", 1), threads=1) for _ in range(3)]
for engine in engines:
    engine.infer(drawing(64, 64))
del engine
while engines:
    del engines[0]
signal.signal(signal.SIGINT, lambda *_: print("pressed"))
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_after_networks_were_dropped_does_not_kill_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DROPPING, file_of("yunet")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (0, "pressed\n"), done.stderr
