"""A run as event files for TensorBoard.

    python -m pleach.tensorboard RUN [--out FOLDER] [--follow]
    tensorboard --logdir RUN/tensorboard

Needs ``pip install 'pleach[tensorboard]'``. Files are written by TensorBoard's own writer. Of what is
written each time those of the time before are taken away first, and no others.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .drawing import draw_network
from .series import Drawing, Point, SearchSeries, flattened, result_points, training_points

if TYPE_CHECKING:
    from .run_directory import Run

#: The end of the names of our files, so that others are let be.
SUFFIX = ".pleach"

#: How often a run that goes on is looked at.
POLL_SECONDS = 2.0


def write(run: Run, directory: Path, *, follow: bool = False) -> Path:
    """Writes what the run and its trainings left; with ``follow`` goes on until they have ended."""
    events = _library()
    while True:
        for old in directory.rglob(f"events.out.tfevents.*{SUFFIX}"):
            old.unlink()
        export = _Export(events, run, directory)
        try:
            if _take_up(export, follow):
                export.finish()
                return directory
        finally:
            export.close()


def _take_up(export: _Export, follow: bool) -> bool:
    """Writes what is there, and with ``follow`` what comes; false where all has to be written again."""
    was_over = False
    while True:
        # Asked before, for what is read after the end is whole.
        is_over = export.is_over()
        export.take_up()
        if export.is_outdated:
            return False
        # Twice: between two seeds of a training nothing goes on either.
        if not follow or (is_over and was_over):
            return True
        was_over = is_over
        time.sleep(POLL_SECONDS)


def _library() -> Any:
    try:
        from . import tensorboard_events
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"event files for TensorBoard are written by the package tensorboard, and there is no {missing.name}: "
            "pip install 'pleach[tensorboard]'",
            name=missing.name,
        ) from missing
    return tensorboard_events


class _Journal:
    """A journal that may still grow, read event by event."""

    def __init__(self, path: Path):
        self._path = path
        self._read = 0
        self._events = 0
        #: Whether it was cut, as ``pleach resume`` does, and says otherwise than was read.
        self.is_outdated = False

    def new(self) -> Iterator[dict]:
        """Events since the last call. A last line that is not finished yet waits for the next."""
        with open(self._path, "rb") as file:
            if file.seek(0, 2) < self._read:
                self.is_outdated = True
                return
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    event = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{self._path}: line {self._events + 1} is damaged: {error}") from None
                if event["number"] != self._events:
                    self.is_outdated = True
                    return
                self._read += len(line)
                self._events += 1
                yield event


class _Export:
    """Event files of one run, from the first event to the last one that is there."""

    def __init__(self, events: Any, run: Run, directory: Path):
        self._events = events
        self._run = run
        self._directory = directory
        self._network = run.network
        self._configuration = run.record["config"]
        self._logs: dict[str, Any] = {}
        self._search = _Journal(run.directory / "events.jsonl")
        self._series = SearchSeries(self._configuration["objectives"])
        self._trainings: dict[Path, _Journal] = {}
        # Named, so that runs with the same values stand beside each other.
        name = str(run.directory.resolve())
        self._log("result", run.directory).hyperparameters(flattened(self._configuration), name)

    @property
    def is_outdated(self) -> bool:
        """Whether a journal was cut meanwhile, so that all has to be written again."""
        return any(journal.is_outdated for journal in (self._search, *self._trainings.values()))

    def take_up(self) -> None:
        """Writes what is new in the journals."""
        search = self._log("search", self._run.directory)
        for event in self._search.new():
            self._write(search, self._series.add(event))
        for journal in sorted(self._run.directory.glob("*/seed-*/events.jsonl")):
            known = self._trainings.setdefault(journal, _Journal(journal))
            folder = journal.parent
            log = self._log(f"{folder.parent.name}/{folder.name}", folder)
            for event in known.new():
                self._write(log, training_points(event))
        for log in self._logs.values():
            log.flush()

    def is_over(self) -> bool:
        """Whether search and trainings have their results."""
        trainings = (journal.parent / "result.json" for journal in self._run.directory.glob("*/seed-*/events.jsonl"))
        return self._run.is_finished and all(result.is_file() for result in trainings)

    def close(self) -> None:
        for log in self._logs.values():
            log.close()

    def finish(self) -> None:
        """Writes what the search came to, if it has ended."""
        if not self._run.is_finished:
            return
        result = self._run.result
        log = self._log("result", self._run.directory)
        documents = sorted(self._run.directory.glob("*/training.json"))
        trained = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in documents}
        self._write(log, result_points(result, trained))
        at = result["times"]["total"]
        if result["winner"] is not None:
            self._write(log, [Drawing(result["evaluations"], at, tuple(result["winner"]["genome"]))])
        log.session_is_over(at)

    def _log(self, name: str, source: Path) -> Any:
        if name not in self._logs:
            # The journal knows seconds of work alone: they count from when this document was written.
            begun = (source / "run.json").stat().st_mtime
            self._logs[name] = self._events.Log(self._directory / name, begun, SUFFIX)
        return self._logs[name]

    def _write(self, log: Any, what: Iterable[Point | Drawing]) -> None:
        for one in what:
            if isinstance(one, Point):
                log.scalar(one)
            else:
                log.image("network", one.step, one.at_seconds, draw_network(self._network, one.genome))


def main(arguments: list[str] | None = None) -> int:
    from .run_directory import Run

    parser = argparse.ArgumentParser(
        prog="python -m pleach.tensorboard", description="Writes a run as event files for TensorBoard."
    )
    parser.add_argument("run", type=Path, help="a run directory, finished or not")
    parser.add_argument("--out", type=Path, help="where to write (RUN/tensorboard)")
    parser.add_argument("--follow", action="store_true", help="go on until the run and its trainings have ended")
    given = parser.parse_args(arguments)
    try:
        directory = Run(given.run).tensorboard(given.out, follow=given.follow)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 4 if isinstance(error, OSError) else 2
    except KeyboardInterrupt:
        return 130
    print(f"tensorboard --logdir {directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
