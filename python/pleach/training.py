"""A network that was trained by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pandas


class Training:
    """What ``pleach train`` left: ``training.json`` and a folder for each seed."""

    def __init__(self, directory: os.PathLike | str, *, plugin_dirs: Iterable[os.PathLike | str] = ()):
        self.directory = Path(directory)
        self.plugin_dirs = tuple(plugin_dirs)
        if not (self.directory / "training.json").is_file():
            raise FileNotFoundError(f"{self.directory} is no finished training: there is no training.json in it")

    def __repr__(self) -> str:
        return f"Training({str(self.directory)!r})"

    @property
    def result(self) -> dict:
        """``training.json``: the network, its cost, what each seed came to."""
        return json.loads((self.directory / "training.json").read_text(encoding="utf-8"))

    def epochs(self) -> pandas.DataFrame:
        """One row for each seed and epoch, with a column for each number of its report."""
        rows = []
        for journal in sorted(self.directory.glob("seed-*/events.jsonl")):
            seed = int(journal.parent.name[len("seed-") :])
            events = map(json.loads, journal.read_text(encoding="utf-8").splitlines())
            epochs = [event for event in events if event["event"] == "epoch"]
            for number, event in enumerate(epochs, start=1):
                rows.append({"seed": seed, "epoch": number, "seconds": event["seconds"], **event["metrics"]})
        return pandas.DataFrame(rows)
