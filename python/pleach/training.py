"""A network that was trained by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas

from .exported import Exported, find_export
from .program import ask

if TYPE_CHECKING:
    import onnxruntime
    import torch


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

    def export(self, directory: os.PathLike | str | None = None, *, seed: int | None = None) -> Exported:
        """Exports the network anew, as ``pleach export`` does: to ``directory``, which must not be there."""
        options = [] if seed is None else ["--seed", seed]
        options += [] if directory is None else ["--to", directory]
        return Exported(ask("export", self.directory, *options, quiet=True)["directory"])

    def network(self, device: Any = "cpu") -> torch.nn.Module:
        """The exported network as a PyTorch module, ready to predict; needs torch and safetensors."""
        return find_export(self.directory).network(device)

    def onnx(self) -> onnxruntime.InferenceSession:
        """The exported network as a session of ONNX Runtime."""
        return find_export(self.directory).onnx()
