"""The bench of a GPU, tried on a CPU: that it runs to its end, not how fast."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT

has_runtime = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bench.gpu", "--device", "cpu", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(has_runtime, reason="ONNX Runtime is installed")
def test_without_the_extra_it_says_what_to_install() -> None:
    done = bench()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("bench: ")
    assert "pip install 'blurline[gpu]'" in done.stderr


@pytest.mark.parametrize(
    ("flag", "value", "named"),
    [
        ("--batches", "1,two", "1,two is no list of numbers"),
        ("--threads", "4,0", "4,0 holds a number below 1"),
        ("--input-size", "640", "640 is no size"),
        ("--max-batch-size", "0", "MAX_BATCH_SIZE"),
        ("--network", "nothing", "no network is called nothing"),
    ],
)
def test_an_option_that_is_wrong_is_named_in_one_line(flag: str, value: str, named: str) -> None:
    done = bench(flag, value)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"bench: {named}")


@pytest.mark.skipif(not has_runtime, reason="onnx and onnxruntime are not installed")
def test_all_parts_have_figures(tmp_path: Path) -> None:
    done = bench(
        *("--network", "platenet", "--input-size", "96x64", "--photo-size", "320x240"),
        *("--batches", "1,2,4", "--threads", "2", "--processes", "2", "--seconds", "0.2"),
        *("--max-batch-size", "2", "--max-queue-delay", "0.01"),
        *("--json", str(tmp_path / "figures.json")),
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["recipe"]["device"] == "cpu"
    assert figures["recipe"]["max_batch_size"] == 2
    assert [line["pictures"] for line in figures["batches"]] == [1, 2, 4]
    (run,) = figures["batcher"]
    assert run["threads"] == 2
    assert 1 <= run["pictures_a_batch"] <= 2
    (line,) = figures["pipeline"]
    assert (line["processes"], line["threads"]) == (2, 2)
    assert set(line["engines"].values()) == {"OpenVinoEngine"}
    for part in ("batches", "batcher", "pipeline"):
        assert all(line["images_per_second"] > 0 for line in figures[part])
