"""The network that a training ended with, as PyTorch and ONNX Runtime take it."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime
    import torch


class Exported:
    """What ``pleach export`` wrote.

    In go pixels from 0 to 255, of shape (images, channels, rows, columns), out come logits, of shape
    (images, classes), whichever of the two computes them.
    """

    def __init__(self, directory: os.PathLike | str):
        self.directory = Path(directory)
        if not (self.directory / "export.json").is_file():
            raise FileNotFoundError(f"{self.directory} is no exported network: there is no export.json in it")

    def __repr__(self) -> str:
        return f"Exported({str(self.directory)!r})"

    @property
    def record(self) -> dict:
        """``export.json``: the genome, and how each file was checked."""
        return json.loads((self.directory / "export.json").read_text(encoding="utf-8"))

    def network(self, device: Any = "cpu") -> torch.nn.Module:
        """The PyTorch module with the weights that were trained, ready to predict.

        Runs ``model.py`` of the directory. Needs the packages torch and safetensors.
        """
        source = self._file("model.py", "pytorch")
        self._file("weights.safetensors", "pytorch")
        for package in ("torch", "safetensors"):
            _need(package, "pytorch")
        # A module of its own for each place, by which networks can be pickled.
        name = f"pleach_exported_{abs(hash(source.resolve()))}"
        spec = importlib.util.spec_from_file_location(name, source)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module.load(device=device)

    def onnx(self, providers: Sequence[Any] = ("CPUExecutionProvider",)) -> onnxruntime.InferenceSession:
        """A session of ONNX Runtime: ``session.run(["logits"], {"images": pixels})``, with 32-bit numbers."""
        model = self._file("model.onnx", "onnx")
        runtime = _need("onnxruntime", "onnx")
        return runtime.InferenceSession(model, providers=list(providers))

    def _file(self, name: str, format: str) -> Path:
        path = self.directory / name
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no {name} in {self.directory}: export it again with --format {format}, "
                "or without --format, which writes all"
            )
        return path


def _need(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"there is no {missing.name}, which this network needs: pip install 'pleach[{extra}]'", name=missing.name
        ) from missing


def find_export(directory: os.PathLike | str) -> Exported:
    """The export in a directory: the exported network itself, a training, or a search with one training.

    Raises ``FileNotFoundError`` where nothing was exported.
    """
    given = Path(directory)
    for folder in (given, given / "export", given / "training" / "export"):
        if (folder / "export.json").is_file():
            return Exported(folder)
    if not given.is_dir():
        raise FileNotFoundError(f"there is no directory {given}")
    raise FileNotFoundError(f"no network was exported in {given}: `pleach export {given}` does it, after `pleach train`")


def load(directory: os.PathLike | str, device: Any = "cpu") -> torch.nn.Module:
    """The exported network of a directory as a PyTorch module; see ``Exported.network``."""
    return find_export(directory).network(device)


def load_onnx(
    directory: os.PathLike | str, providers: Sequence[Any] = ("CPUExecutionProvider",)
) -> onnxruntime.InferenceSession:
    """The exported network of a directory in ONNX Runtime; see ``Exported.onnx``."""
    return find_export(directory).onnx(providers)
