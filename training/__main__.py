"""Train a network for plates or faces; a run that was interrupted goes on where it stopped."""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic

import torch
from torch.optim import AdamW
from torch.utils.data import DataLoader

from training.crops import Batch, Batches
from training.loss import loss
from training.network import DenseNet, export, take_over
from training.sets import Photos, load_faces, load_plates

LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
WARM_UP = 300
EMA_DECAY = 0.998
SAVE_EVERY = 300
SHOW_EVERY_SECONDS = 20.0
FITTING_BATCHES = 100
"""Batches whose moments a network that was exported gets."""


TASKS: dict[str, Callable[[Path], Photos]] = {"plates": load_plates, "faces": load_faces}


@dataclass
class Run:
    """A training run that can be put on disk between any two steps."""

    network: DenseNet
    average: DenseNet
    optimizer: AdamW
    step: int = 0

    @classmethod
    def begin(cls, seed: int) -> "Run":
        """A run at its first step."""
        torch.manual_seed(seed)
        network = DenseNet(classes=1).to(memory_format=torch.channels_last)
        average = DenseNet(classes=1)
        average.load_state_dict(network.state_dict())
        optimizer = AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        return cls(network, average, optimizer)

    def save(self, path: Path) -> None:
        """Write the run, whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        unfinished = path.with_suffix(".new")
        torch.save(state, unfinished)
        unfinished.replace(path)

    def load(self, path: Path) -> None:
        """Go on where the saved run stopped."""
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def start_from(self, path: Path, batches: Iterator[Batch]) -> None:
        """Take over the weights of another run, and begin at the first step.

        Of a checkpoint the averaged ones; an exported network's are fitted to some batches.
        """
        if path.suffix == ".onnx":
            take_over(self.network, path, (one.crops for one in islice(batches, FITTING_BATCHES)))
        else:
            self.network.load_state_dict(torch.load(path, weights_only=True)["average"])
        self.average.load_state_dict(self.network.state_dict())

    def advance(self, batch: Batch, steps: int, peak: float) -> tuple[float, float]:
        """One step of `steps` in all; the losses of scores and boxes."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, steps, peak)
        self.network.train()
        crops = batch.crops.float().contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            maps = self.network(crops)
        score_loss, box_loss = loss(maps, batch)
        self.optimizer.zero_grad(set_to_none=True)
        (score_loss + box_loss).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimizer.step()
        self.step += 1
        self._follow(min(EMA_DECAY, self.step / (self.step + 20)))
        return float(score_loss.detach()), float(box_loss.detach())

    def _follow(self, decay: float) -> None:
        """Move the averaged weights towards the current ones."""
        current = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])


def learning_rate(step: int, steps: int, peak: float) -> float:
    """A short rise, then half a cosine down to a fiftieth."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return peak * min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.98 * cosine)


def train(run: Run, batches: Iterator[Batch], steps: int, peak: float, checkpoint: Path) -> None:
    """Run to the last step, with a line of progress now and then."""
    shown, losses, began = monotonic(), [], run.step
    while run.step < steps:
        losses.append(run.advance(next(batches), steps, peak))
        now = monotonic()
        if now - shown > SHOW_EVERY_SECONDS:
            rate = (run.step - began) / (now - shown)
            scores, boxes = (sum(column) / len(losses) for column in zip(*losses, strict=True))
            minutes = (steps - run.step) / rate / 60
            print(
                f"step {run.step} of {steps}  scores {scores:.3f}  boxes {boxes:.3f}  "
                f"{minutes:.0f} minutes left",
                flush=True,
            )
            shown, losses, began = now, [], run.step
        if run.step % SAVE_EVERY == 0 or run.step == steps:
            run.save(checkpoint)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training sets")
    parser.add_argument(
        "--task", choices=TASKS, default="plates", help="what to find; default: %(default)s"
    )
    parser.add_argument("--out", type=Path, default=Path("build/training"), help="results")
    parser.add_argument("--steps", type=int, default=12_000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument(
        "--rate", type=float, default=LEARNING_RATE, help="highest learning rate; %(default)s"
    )
    parser.add_argument(
        "--start", type=Path, help="checkpoint or .onnx of another run, whose weights to begin with"
    )
    parser.add_argument(
        "--export", action="store_true", help="write the network as it is now, train no further"
    )
    arguments = parser.parse_args()
    # One thread here and one process that makes crops use two cores best.
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.out / "checkpoint.pt"
    run = Run.begin(arguments.seed)
    if checkpoint.exists():
        run.load(checkpoint)
        print(f"goes on at step {run.step}")
    if not arguments.export:
        photos = TASKS[arguments.task](arguments.data)
        count = sum(len(photo.boxes) for photo in photos.labelled)
        print(
            f"{count} {arguments.task} in {len(photos.labelled)} photos, "
            f"{len(photos.negative)} photos without"
        )
        crops = Batches(photos, seed=arguments.seed * 1_000_000 + run.step)
        # Spawned, since the teacher's threads do not outlive a fork, but their locks do.
        loader = DataLoader(
            crops,
            batch_size=None,
            num_workers=1,
            prefetch_factor=8,
            multiprocessing_context="spawn",
        )
        batches = iter(loader)
        if arguments.start and not run.step:
            run.start_from(arguments.start, batches)
        train(run, batches, arguments.steps, arguments.rate, checkpoint)
    path = arguments.out / f"{arguments.task}.onnx"
    export(run.average, path)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
