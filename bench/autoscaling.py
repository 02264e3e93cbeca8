"""The rules by which Kubernetes changes a number of pods, as a manifest states them.

The horizontal autoscaler looks every 15 s (`--horizontal-pod-autoscaler-sync-period`). A metric
wants `ceil(total / target)` pods, nothing else while that is within a tenth of what there is
(`--horizontal-pod-autoscaler-tolerance`), and of several metrics the greatest number holds.
Behaviour bounds the way there: so many pods in so many seconds, and down only to the most that was
wanted within a window. KEDA makes such an autoscaler from a ScaledObject and asks its sources each
time the autoscaler looks; its own polling decides only between no pod and one.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import yaml

SYNC_SECONDS = 15.0
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Way:
    """How fast a number may change in one direction: `pods` in `period` s, after `window` s."""

    pods: int
    period: float
    window: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most pods, and the ways between them."""

    least: int
    most: int
    up: Way
    down: Way


@dataclass(frozen=True, slots=True)
class WorkerScaling:
    """The ScaledObject: waiting jobs and running jobs that one pod is wanted for.

    `threads` is how many jobs a pod runs at a time, `cores` what it computes with.
    """

    bounds: Bounds
    waiting: float
    running: float
    threads: int
    cores: float
    grace: float


@dataclass(frozen=True, slots=True)
class ApiScaling:
    """The API's autoscaler: the cores a pod asks for, and the share of them that is wanted used."""

    bounds: Bounds
    cores: float
    share: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """What of `kubernetes_deployment.yaml` decides how many pods there are."""

    worker: WorkerScaling
    api: ApiScaling
    places: int


def read_manifest(path: Path) -> Manifest:
    """The numbers of a manifest.

    Raises:
        KeyError: it has no worker, API or trigger of the names that this project uses.
        OSError: it can't be read.
    """
    resources = {
        (one["kind"], one["metadata"]["name"]): one
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    }
    settings = resources["ConfigMap", "blurline"]["data"]
    worker, api = (_pod(resources["Deployment", name]) for name in ("worker", "api"))
    scaled = resources["ScaledObject", "worker"]["spec"]
    triggers = {one["name"]: one["metadata"] for one in scaled["triggers"]}
    given = {one["name"]: one.get("value") for one in worker["containers"][0]["env"]}
    autoscaler = resources["HorizontalPodAutoscaler", "api"]["spec"]
    behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return Manifest(
        worker=WorkerScaling(
            bounds=_bounds(scaled["minReplicaCount"], scaled["maxReplicaCount"], behavior),
            waiting=float(triggers["waiting"]["listLength"]),
            running=float(triggers["running"]["targetValue"]),
            threads=int(given["WORKER_THREADS"]),
            cores=_cores(worker["containers"][0]["resources"]["limits"]["cpu"]),
            grace=worker["terminationGracePeriodSeconds"],
        ),
        api=ApiScaling(
            bounds=_bounds(
                autoscaler["minReplicas"], autoscaler["maxReplicas"], autoscaler["behavior"]
            ),
            cores=_cores(api["containers"][0]["resources"]["requests"]["cpu"]),
            share=autoscaler["metrics"][0]["resource"]["target"]["averageUtilization"] / 100,
        ),
        places=int(settings["MAX_QUEUE_SIZE"]),
    )


@dataclass(slots=True)
class Autoscaler:
    """One horizontal autoscaler over time."""

    bounds: Bounds
    pods: int
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def look(self, now: float, metrics: Sequence[tuple[float, float]]) -> int:
        """The number of pods from now on.

        Args:
            now: seconds; each call later than the one before.
            metrics: total and target of each.
        """
        asked = max(wanted(total, target, self.pods) for total, target in metrics)
        asked = min(max(asked, self.bounds.least), self.bounds.most)
        self._wanted.append((now, asked))
        up, down = self.bounds.up, self.bounds.down
        while self._wanted[0][0] < now - max(up.window, down.window):
            self._wanted.popleft()
        if asked > self.pods:
            least = min(count for then, count in self._wanted if then >= now - up.window)
            new = max(self.pods, min(least, self._start(now, up.period) + up.pods))
        else:
            most = max(count for then, count in self._wanted if then >= now - down.window)
            new = min(self.pods, max(most, self._start(now, down.period) - down.pods))
        if new != self.pods:
            self._changes.append((now, new - self.pods))
            self.pods = new
        return new

    def _start(self, now: float, period: float) -> int:
        """How many pods there were a period ago."""
        return self.pods - sum(change for then, change in self._changes if then > now - period)


def wanted(total: float, target: float, pods: int) -> int:
    """How many pods a metric wants that is `total` over all and meant to be `target` for each."""
    if abs(1 - total / (target * pods)) <= TOLERANCE:
        return pods
    # Rounded first: a share of a share is seldom a whole number in binary.
    return ceil(round(total / target, 9))


def _bounds(least: int, most: int, behavior: Mapping[str, Any]) -> Bounds:
    return Bounds(least, most, _way(behavior["scaleUp"]), _way(behavior["scaleDown"]))


def _way(rules: Mapping[str, Any]) -> Way:
    (policy,) = rules["policies"]
    if policy["type"] != "Pods":
        raise KeyError("Pods")
    return Way(policy["value"], policy["periodSeconds"], rules["stabilizationWindowSeconds"])


def _pod(workload: Mapping[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


def _cores(text: str | int) -> float:
    """Cores out of Kubernetes' `2` or `500m`."""
    value = str(text)
    return float(value[:-1]) / 1000 if value.endswith("m") else float(value)
