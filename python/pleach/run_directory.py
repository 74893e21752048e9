"""A search and its run directory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas

from .program import RunFile, ask, run_file, sets
from .training import Training


def run(
    file: RunFile,
    *,
    set: Mapping[str, Any] | None = None,
    directory: os.PathLike | str | None = None,
    plugin_dirs: Iterable[os.PathLike | str] = (),
    quiet: bool = False,
) -> Run:
    """Searches as a run file says: its path, or a mapping with the same keys.

    ``set`` replaces values by their path, as ``--set`` does: ``{"strategy.with.population": 20}``.
    ``directory`` is the run directory; without it the first free ``runs/<name>-<number>``.

    Raises ``PleachError``.
    """
    with run_file(file) as path:
        where = [] if directory is None else ["--dir", directory]
        answer = ask("run", path, *sets(set), *where, plugin_dirs=plugin_dirs, quiet=quiet)
    return Run(answer["run_directory"], plugin_dirs=plugin_dirs)


def genome_text(genome: Iterable[int]) -> str:
    """A genome as the command line writes it: ``1-2-0``."""
    return "-".join(map(str, genome))


class Run:
    """A run directory, finished or not; it is read anew at each call."""

    def __init__(self, directory: os.PathLike | str, *, plugin_dirs: Iterable[os.PathLike | str] = ()):
        self.directory = Path(directory)
        self.plugin_dirs = tuple(plugin_dirs)
        if not (self.directory / "run.json").is_file():
            raise FileNotFoundError(f"{self.directory} is no run directory: there is no run.json in it")

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"

    @property
    def record(self) -> dict:
        """``run.json``: configuration, seed, versions and hashes."""
        return self._document("run.json")

    @property
    def network(self) -> dict:
        """``network.json``: the description that genomes of this run are choices of."""
        return self._document("network.json")

    @property
    def is_finished(self) -> bool:
        """Whether the search has a result."""
        return (self.directory / "result.json").is_file()

    @property
    def result(self) -> dict:
        """``result.json``; ``FileNotFoundError`` as long as the search has not ended."""
        if not self.is_finished:
            raise FileNotFoundError(f"{self.directory} has no result yet: resume() ends the search")
        return self._document("result.json")

    @property
    def winner(self) -> dict | None:
        """The network that was found, with ``genome``, ``objectives`` and ``cost``."""
        return self.result["winner"]

    def events(self) -> Iterator[dict]:
        """The journal. A last line that is not finished yet is left out."""
        with open(self.directory / "events.jsonl", encoding="utf-8") as journal:
            for line in journal:
                if line.endswith("\n"):
                    yield json.loads(line)

    def candidates(self) -> pandas.DataFrame:
        """One row for each candidate, in the order of the search.

        ``step``, ``at_seconds``, ``genome`` (as text), ``by`` (who made it), ``parents`` (genomes as
        text), ``known`` (whether its fitness was known already), ``failed`` (the reason, or none), and a
        column for each objective.
        """
        rows = []
        names: list[str] = []
        for event in self.events():
            if event["event"] != "evaluated":
                continue
            names = event["objectives"]
            for candidate in event["candidates"]:
                origin = candidate.get("origin") or {}
                values = candidate.get("values") or [None] * len(names)
                rows.append(
                    {
                        "step": event["step"],
                        "at_seconds": event["at_seconds"],
                        "genome": genome_text(candidate["genome"]),
                        "by": origin.get("by"),
                        "parents": [genome_text(parent) for parent in origin.get("parents", [])],
                        "known": bool(candidate.get("known", False)),
                        "failed": candidate.get("failed"),
                        **dict(zip(names, values)),
                    }
                )
        columns = ["step", "at_seconds", "genome", "by", "parents", "known", "failed", *names]
        return pandas.DataFrame(rows, columns=columns)

    def trainings(self) -> pandas.DataFrame:
        """One row for each training of shared weights, with a column for each number of its report."""
        rows = [
            {
                "step": event["step"],
                "stage": event["stage"],
                "epochs": event["epochs"],
                "at_seconds": event["at_seconds"],
                "seconds": event["seconds"],
                **(event["report"].get("metrics") or {}),
            }
            for event in self.events()
            if event["event"] == "trained"
        ]
        return pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=["step", "stage", "epochs", "seconds"])

    def tensorboard(self, directory: os.PathLike | str | None = None, *, follow: bool = False) -> Path:
        """Writes event files for TensorBoard and returns their folder, without ``directory`` the run's own.

        With ``follow`` goes on until the run and its trainings have ended. Can be repeated. Needs the
        package tensorboard.
        """
        from . import tensorboard

        where = self.directory / "tensorboard" if directory is None else Path(directory)
        return tensorboard.write(self, where, follow=follow)

    def resume(self, *, set: Mapping[str, Any] | None = None, quiet: bool = False) -> Run:
        """Goes on until the search ends; ``set`` may change ``budget`` and ``executor``."""
        ask("resume", self.directory, *sets(set), plugin_dirs=self.plugin_dirs, quiet=quiet)
        return self

    def reproduce(
        self, genome: Iterable[int] | None = None, *, directory: os.PathLike | str | None = None, quiet: bool = False
    ) -> dict:
        """Repeats the run, or the evaluation of one network, and says what came out ``different``."""
        what = [] if genome is None else [genome_text(genome)]
        where = [] if directory is None else ["--dir", directory]
        return ask("reproduce", self.directory, *what, *where, plugin_dirs=self.plugin_dirs, quiet=quiet, accept=(0, 5))

    def train(
        self,
        genome: Iterable[int] | None = None,
        *,
        recipe: os.PathLike | str | None = None,
        set: Mapping[str, Any] | None = None,
        directory: os.PathLike | str | None = None,
        quiet: bool = False,
    ) -> Training:
        """Trains what was found (or ``genome``) by itself and measures it on the test set.

        ``recipe`` is another run file whose ``train``, data set and space are used (``--as``).
        """
        options = [] if genome is None else ["--genome", genome_text(genome)]
        options += [] if recipe is None else ["--as", recipe]
        options += [] if directory is None else ["--dir", directory]
        answer = ask("train", self.directory, *options, *sets(set), plugin_dirs=self.plugin_dirs, quiet=quiet)
        return Training(answer["directory"], plugin_dirs=self.plugin_dirs)

    def _document(self, name: str) -> dict:
        return json.loads((self.directory / name).read_text(encoding="utf-8"))
