"""Queue, workers and autoscalers under a load, simulated.

Nothing runs here: queue, pods and the autoscalers' clock are computed in steps, with the numbers of
`kubernetes_deployment.yaml`. The autoscaler looks last before the load begins, which is the worst
moment, and pods that go finish what they run.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from bench.autoscaling import SYNC_SECONDS, Autoscaler, Manifest

WORKER_RATE = 8.1
"""Images/s of a worker on two cores: 1280 x 720, single, folder, in docs/performance.md."""

API_SECONDS = 0.0065
"""CPU seconds of the API for an image, by the same document."""

START_SECONDS = 10.0
"""From the wish for a pod to its first job where a node with the image has room. A worker takes
2.2 s of it, measured; the rest, for the scheduler and the start of a container, is assumed."""

STEP_SECONDS = 0.05
CALM_SECONDS = 2400
"""How long after the load the pods are followed."""


@dataclass(frozen=True, slots=True)
class Load:
    """Images that arrive at random, `rate` a second on average, for so many seconds."""

    name: str
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Worker:
    """`rate`: images/s with enough jobs; `start`: seconds until a new pod takes its first job."""

    rate: float = WORKER_RATE
    start: float = START_SECONDS


@dataclass(slots=True)
class Pod:
    """A worker: jobs that run in it, by the time they came, and how much of the next one is done.

    A pod that goes takes no new job.
    """

    ready_at: float
    going: bool = False
    running: deque[float] = field(default_factory=deque)
    done: float = 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The state at a time in seconds: jobs that wait and run, workers wanted and at work."""

    time: float
    waiting: int
    running: int
    wanted: int
    working: int
    api_pods: int


@dataclass(frozen=True, slots=True)
class Course:
    """One run: moments a second apart, seconds from arrival to end of each image, and refusals."""

    load: Load
    worker: Worker
    moments: tuple[Moment, ...]
    latencies: tuple[float, ...]
    refused: int

    @property
    def drained_after(self) -> float:
        """Seconds from the end of the load until nothing waits or runs."""
        busy = [moment.time for moment in self.moments if moment.waiting or moment.running]
        return max(0.0, max(busy, default=0.0) - self.load.seconds)

    @property
    def calm_after(self) -> float:
        """Seconds from the end of the load until there are as few workers as before."""
        more = [m.time for m in self.moments if m.wanted > self.moments[0].wanted]
        return max(0.0, max(more, default=0.0) - self.load.seconds)

    def latency(self, share: float) -> float:
        """The latency in seconds that so many of the images kept to; 0 if there were none."""
        return float(np.quantile(self.latencies, share)) if self.latencies else 0.0


class Cluster:
    """Queue, workers and autoscalers, one step after the other."""

    def __init__(self, manifest: Manifest, worker: Worker) -> None:
        self.manifest = manifest
        self.worker = worker
        self.waiting: deque[float] = deque()
        self.pods = [Pod(0.0) for _ in range(manifest.worker.bounds.least)]
        self.scaler = Autoscaler(manifest.worker.bounds, len(self.pods))
        self.api = Autoscaler(manifest.api.bounds, manifest.api.bounds.least)
        self.refused = 0
        self.latencies: list[float] = []

    def receive(self, now: float, images: int) -> None:
        """Take images while there are places for them."""
        taken = min(images, max(0, self.manifest.places - len(self.waiting)))
        self.waiting.extend([now] * taken)
        self.refused += images - taken

    def work(self, now: float) -> None:
        """One step of all pods. With less jobs than cores, a pod is slower by as much."""
        if not self.waiting and not self.running:
            self.pods = [pod for pod in self.pods if not pod.going]
            return
        scaling = self.manifest.worker
        for pod in self.pods:
            if pod.ready_at > now:
                continue
            while not pod.going and self.waiting and len(pod.running) < scaling.threads:
                pod.running.append(self.waiting.popleft())
            share = min(1.0, len(pod.running) / scaling.cores)
            pod.done += self.worker.rate * share * STEP_SECONDS
            while pod.done >= 1 and pod.running:
                pod.done -= 1
                self.latencies.append(now - pod.running.popleft())
            if not pod.running:
                pod.done = 0.0
        self.pods = [pod for pod in self.pods if pod.running or not pod.going]

    def scale(self, now: float, arrivals: float) -> None:
        """Let both autoscalers look; `arrivals`: images/s since they looked last."""
        scaling, api = self.manifest.worker, self.manifest.api
        before = self.scaler.pods
        metrics = [(len(self.waiting), scaling.waiting), (self.running, scaling.running)]
        more = self.scaler.look(now, metrics) - before
        self.pods += [Pod(now + self.worker.start) for _ in range(more)]
        staying = [pod for pod in self.pods if not pod.going]
        for pod in staying[before + more :]:
            pod.going = True
        self.api.look(now, [(arrivals * API_SECONDS, api.share * api.cores)])

    @property
    def running(self) -> int:
        """How many jobs run."""
        return sum(len(pod.running) for pod in self.pods)

    def moment(self, now: float) -> Moment:
        """The state as of now."""
        working = sum(pod.ready_at <= now for pod in self.pods)
        return Moment(
            now, len(self.waiting), self.running, self.scaler.pods, working, self.api.pods
        )


def simulate(manifest: Manifest, load: Load, worker: Worker, seed: int = 0) -> Course:
    """What becomes of a load; the same for the same arguments."""
    arrivals = np.random.default_rng(seed).poisson(
        load.rate * STEP_SECONDS, round(load.seconds / STEP_SECONDS)
    )
    cluster, moments, since_look = Cluster(manifest, worker), [], 0
    each_look, each_second = round(SYNC_SECONDS / STEP_SECONDS), round(1 / STEP_SECONDS)
    for step in range(round((load.seconds + CALM_SECONDS) / STEP_SECONDS)):
        now = step * STEP_SECONDS
        images = int(arrivals[step]) if step < len(arrivals) else 0
        since_look += images
        cluster.receive(now, images)
        cluster.work(now)
        if step and step % each_look == 0:
            cluster.scale(now, since_look / SYNC_SECONDS)
            since_look = 0
        if step % each_second == 0:
            moments.append(cluster.moment(now))
    return Course(load, worker, tuple(moments), tuple(cluster.latencies), cluster.refused)
