"""Asking the program ``pleach`` and understanding its answers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import pandas

#: A run file, or what would be in it.
RunFile = Union[str, os.PathLike, Mapping]


class PleachError(RuntimeError):
    """What the program refused or failed to do.

    ``exit_code`` is 2 for a mistake in what it was given, 3 for a failing component, 4 for files that
    cannot be read or written, 5 for something repeated that came out different, 130 for an interrupt;
    ``errors`` are the program's own messages, with ``place`` and ``help`` where it gives them.
    """

    def __init__(self, exit_code: int, errors: list[dict]):
        self.exit_code = exit_code
        self.errors = errors
        super().__init__("\n".join(map(_sentence, errors)) or f"pleach ended with {exit_code}")


def _sentence(error: dict) -> str:
    text = error["message"]
    place = error.get("place") or {}
    if isinstance(place, dict) and place.get("key"):
        text += f" (at `{place['key']}`)"
    if error.get("help"):
        text += f"; {error['help']}"
    return text


def find_program() -> str:
    """The path of the program: what ``PLEACH`` says, or ``pleach`` on the search path."""
    given = os.environ.get("PLEACH")
    found = shutil.which(given or "pleach")
    if found is None:
        raise FileNotFoundError(
            f"there is no program {given!r}, which PLEACH names"
            if given
            else "there is no program `pleach` on the search path: build it with "
            "`cargo build --release` and set PLEACH to target/release/pleach"
        )
    return found


def ask(
    *arguments: Any,
    plugin_dirs: Iterable[os.PathLike | str] = (),
    quiet: bool = False,
    accept: Iterable[int] = (0,),
) -> Any:
    """Runs ``pleach --json ARGUMENTS`` and returns its answer.

    What it warns of meanwhile goes to ``sys.stderr`` line by line, unless ``quiet``. An interrupt
    (Ctrl-C) reaches the program, which saves its state before ``KeyboardInterrupt`` goes on.

    Raises ``PleachError`` when it ends with a code that is not in ``accept``.
    """
    command = [find_program(), "--json"]
    for folder in plugin_dirs:
        command += ["--plugin-dir", os.fspath(folder)]
    command += [os.fspath(one) if isinstance(one, os.PathLike) else str(one) for one in arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    said: list[str] = []

    def listen() -> None:
        for line in process.stderr:
            said.append(line)
            if not quiet:
                sys.stderr.write(line)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        answer = process.stdout.read()
        process.wait()
    except KeyboardInterrupt:
        # The program was interrupted by the same key.
        process.wait()
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        listener.join()
        process.stdout.close()
        process.stderr.close()
    if process.returncode not in accept:
        raise _error(process.returncode, answer, "".join(said))
    return json.loads(answer) if answer.strip() else None


def _error(code: int, answer: str, said: str) -> PleachError:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return PleachError(code, json.loads(answer)["errors"])
    # Mistakes on the command line are no JSON, and a crash leaves none.
    return PleachError(code, [{"message": said.strip() or f"pleach ended with {code}"}])


def sets(values: Mapping[str, Any] | None) -> list[str]:
    """``--set`` arguments for keys and values; values are Python's and become YAML."""
    return [
        argument
        for key, value in (values or {}).items()
        for argument in ("--set", f"{key}={json.dumps(value)}")
    ]


@contextlib.contextmanager
def run_file(given: RunFile) -> Iterator[str]:
    """The path of a run file; a mapping is written into one, for YAML takes JSON as it is."""
    if not isinstance(given, Mapping):
        yield os.fspath(given)
        return
    with tempfile.TemporaryDirectory(prefix="pleach-") as folder:
        path = Path(folder) / "run.yaml"
        path.write_text(json.dumps(given, indent=2), encoding="utf-8")
        yield str(path)


def components(plugin_dirs: Iterable[os.PathLike | str] = ()) -> pandas.DataFrame:
    """What run files can use: one row for each component."""
    answer = ask("plugins", "list", plugin_dirs=plugin_dirs, quiet=True)
    rows = [
        {
            "component": f"{one['plugin']['name']}/{component['name']}",
            "kind": component["kind"],
            "summary": component["summary"],
            "version": one["plugin"]["version"],
            "path": one["path"],
        }
        for one in answer["plugins"]
        for component in one["plugin"]["components"]
    ]
    return pandas.DataFrame(rows, columns=["component", "kind", "summary", "version", "path"])
