"""What a run left as series of numbers over steps, for whatever draws them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: A mean is of the networks of one step, and of no fewer than so many.
LEAST_FOR_A_MEAN = 10


@dataclass(frozen=True)
class Point:
    """A number of the series ``tag``; ``at_seconds`` is the time that was worked on the run."""

    tag: str
    step: int
    at_seconds: float
    value: float


@dataclass(frozen=True)
class Drawing:
    """A network to draw: the best one with the weights of one training."""

    step: int
    at_seconds: float
    genome: tuple[int, ...]


class SearchSeries:
    """The series of a search; events of its journal go in one by one."""

    def __init__(self, objectives: Mapping[str, Any]):
        wanted = {name: {"goal": given} if isinstance(given, str) else dict(given) for name, given in objectives.items()}
        self._limits = {
            name: (one.get("at_least", -math.inf), one.get("at_most", math.inf)) for name, one in wanted.items()
        }
        self._goal = next(name for name, one in wanted.items() if one.get("goal"))
        self._sign = -1 if wanted[self._goal]["goal"] == "minimise" else 1
        self.evaluations = 0
        self._trainings = 0
        self._epochs = 0.0
        self._seconds = {"training": 0.0, "evaluation": 0.0}
        self._shares_weights = False
        self._begin_with_new_weights()

    def _begin_with_new_weights(self) -> None:
        # Fitness compares only between networks that were measured with the same weights.
        self._measured: list[dict[str, float]] = []
        self._best: tuple[tuple[int, ...], dict[str, float]] | None = None

    def add(self, event: Mapping[str, Any]) -> Iterator[Point | Drawing]:
        """What one event adds."""
        if event["event"] == "trained":
            yield from self._trained(event)
        elif event["event"] == "evaluated":
            yield from self._evaluated(event)
        elif event["event"] == "finished":
            yield from self._after_training(event["at_seconds"])

    def _trained(self, event: Mapping[str, Any]) -> Iterator[Point | Drawing]:
        at = event["at_seconds"]
        report = event["report"]
        if report.get("weights_changed"):
            yield from self._after_training(at)
            self._begin_with_new_weights()
            self._shares_weights = True
        self._trainings += 1
        self._epochs += event["epochs"]
        self._seconds["training"] += event["seconds"]
        if self._shares_weights:
            numbers = {"epochs": self._epochs, **(report.get("metrics") or {})}
            yield from points("supernet", numbers, self._trainings, at)
        yield Point("region/log10_networks", self._trainings, at, log10_size(event["region"]))

    def _after_training(self, at: float) -> Iterator[Point | Drawing]:
        """What networks measured with the weights of the last training."""
        fitness = [values[self._goal] for values in self._measured if self._goal in values]
        if self._shares_weights and fitness:
            best = {} if self._best is None else {"held_out_best": self._best[1][self._goal]}
            numbers = {**best, "held_out_mean": statistics.fmean(fitness)}
            yield from points("supernet", numbers, self._trainings, at)
        if self._best is not None:
            yield Drawing(self.evaluations, at, self._best[0])

    def _evaluated(self, event: Mapping[str, Any]) -> Iterator[Point]:
        at = event["at_seconds"]
        names = event["objectives"]
        before = len(self._measured)
        seen = set()
        clock = None
        for candidate in event["candidates"]:
            genome = tuple(candidate["genome"])
            values = candidate.get("values")
            # The journal has every candidate, also those whose fitness was known already.
            if candidate.get("known") or genome in seen or (values is None and "failed" not in candidate):
                continue
            seen.add(genome)
            self.evaluations += 1
            clock = candidate.get("at_simulated_seconds", clock)
            if values is None:
                continue
            measured = {name: value for name, value in zip(names, values) if value is not None}
            self._measured.append(measured)
            if self._is_best(measured):
                self._best = (genome, measured)
            for name, value in measured.items():
                yield Point(f"{name}/candidate", self.evaluations, at, value)
        self._seconds["evaluation"] += event["seconds"]
        if not seen:
            return
        recent = self._measured[-max(len(self._measured) - before, LEAST_FOR_A_MEAN) :]
        for name in names:
            if self._best is not None and name in self._best[1]:
                yield Point(f"{name}/best", self.evaluations, at, self._best[1][name])
            values = [measured[name] for measured in recent if name in measured]
            if values:
                yield Point(f"{name}/mean", self.evaluations, at, statistics.fmean(values))
        yield from points("front", event.get("front") or {}, self.evaluations, at)
        yield from points("time", {"total": at, **self._seconds, "simulated": clock}, self.evaluations, at)

    def _is_best(self, measured: Mapping[str, float]) -> bool:
        for name, (at_least, at_most) in self._limits.items():
            value = measured.get(name)
            if value is None or value < at_least or value > at_most:
                return False
        return self._best is None or self._sign * measured[self._goal] > self._sign * self._best[1][self._goal]


def training_points(event: Mapping[str, Any]) -> Iterator[Point]:
    """What an event of the journal of a network that is trained by itself adds, against epochs."""
    at = event["at_seconds"]
    if event["event"] == "epoch":
        metrics = dict(event["metrics"])
        epoch = round(metrics.pop("epoch", event["number"]))
        metrics.pop("epochs", None)
        yield from points("training", {**metrics, "seconds": event["seconds"]}, epoch, at)
    elif event["event"] == "finished":
        yield from points("measured", event["measured"], round(event["epochs"]), at)


def result_points(result: Mapping[str, Any], trained: Mapping[str, Mapping[str, Any]]) -> Iterator[Point]:
    """What a search came to, and its trainings by the names of their folders."""
    step, at = result["evaluations"], result["times"]["total"]
    winner = result["winner"]
    if winner is not None:
        costs = {"params": winner["params"], "flops": winner["flops"]}
        yield from points("found", {**costs, **winner["objectives"]}, step, at)
        yield from points("judged", winner.get("judged") or {}, step, at)
    times = dict(result["times"])
    counts = {name: result[name] for name in ("evaluations", "known", "failed")}
    yield from points("search", {**counts, "workers_lost": times.pop("workers_lost", None)}, step, at)
    yield from points("time", {**times, "simulated": result.get("simulated_seconds")}, step, at)
    for random in result["random_networks"]:
        numbers = {name: random[name] for name in ("mean", "standard_deviation", "best")}
        yield from points(f"random/{random['drawn_from']}", numbers, step, at)
    for folder, training in trained.items():
        means = {name: measured["mean"] for name, measured in training["measured"].items()}
        yield from points(folder.replace("training", "trained", 1), means, step, at)


def points(group: str, numbers: Mapping[str, float | None], step: int, at_seconds: float) -> Iterator[Point]:
    """A point for each number that is there."""
    for name, value in numbers.items():
        if value is not None:
            yield Point(f"{group}/{name}", step, at_seconds, value)


def log10_size(region: list[list[int]]) -> float:
    """How many networks a region has; its decimal logarithm, for they are more than a number can say."""
    return sum(math.log10(len(choices)) for choices in region)


def flattened(configuration: Mapping[str, Any], path: str = "") -> dict[str, bool | float | str]:
    """A configuration as one level of keys with dots; lists become JSON."""
    flat: dict[str, bool | float | str] = {}
    for key, value in configuration.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            flat.update(flattened(value, f"{name}."))
        elif isinstance(value, (bool, int, float, str)):
            flat[name] = value
        else:
            flat[name] = json.dumps(value)
    return flat
