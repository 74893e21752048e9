"""Strategies side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas

from .program import ask, sets


def compare(
    *files: os.PathLike | str,
    seeds: int | None = None,
    set: Mapping[str, Any] | None = None,
    directory: os.PathLike | str | None = None,
    plugin_dirs: Iterable[os.PathLike | str] = (),
    quiet: bool = False,
) -> Comparison:
    """Runs every variant of run files with many seeds; see ``pleach compare``.

    Raises ``PleachError``.
    """
    options = [] if seeds is None else ["--seeds", seeds]
    options += [] if directory is None else ["--dir", directory]
    answer = ask("compare", *files, *options, *sets(set), plugin_dirs=plugin_dirs, quiet=quiet)
    return Comparison(answer["directory"])


class Comparison:
    """What ``pleach compare`` left."""

    def __init__(self, directory: os.PathLike | str):
        self.directory = Path(directory)
        if not (self.directory / "compare.json").is_file():
            raise FileNotFoundError(f"{self.directory} is no finished comparison: there is no compare.json in it")

    def __repr__(self) -> str:
        return f"Comparison({str(self.directory)!r})"

    @property
    def report(self) -> dict:
        """``compare.json``: variants, tests between them, curves."""
        return json.loads((self.directory / "compare.json").read_text(encoding="utf-8"))

    def table(self) -> pandas.DataFrame:
        """One row for each variant."""
        return pandas.read_csv(self.directory / "compare.csv").set_index("variant")

    def curves(self) -> pandas.DataFrame:
        """The best so far against evaluations and simulated seconds, with 95 % of the mean."""
        return pandas.read_csv(self.directory / "curves.csv")
