"""Start the solver on several ranks as its own program, and show what it tells."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from turgor.materials.errors import SetupError, TurgorError
from turgor.progress import Progress, hear

FOLDER = "@folder "
"""What begins the line in which the solver tells its run folder."""

PATIENCE = 20.0
"""Seconds that interrupted ranks have to close their files."""


class Crashed(TurgorError):
    """The solver ended without a word."""

    exit_code = 1


class Ended(TurgorError):
    """The solver ended with a message that the user has seen already."""

    def __init__(self, code: int) -> None:
        """Keep the exit code."""
        super().__init__("")
        self.exit_code = code


def mpirun() -> str:
    """Return the program that starts MPI: the one beside this Python, or the first on the path.

    Raises:
        SetupError: There is none.
    """
    beside = Path(sys.executable).with_name("mpirun")
    found = str(beside) if beside.exists() else shutil.which("mpirun")
    if found is None:
        raise SetupError(f"there is no mpirun beside {sys.executable} or on the path: install turgor anew, or use -n 1")
    return found


def environment() -> dict[str, str]:
    """Return the environment for ranks: one thread each, output at once."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def solve(ranks: int, words: Sequence[str], progress: Progress) -> Path:
    """Run `turgor solve WORDS` on several ranks; return the run folder.

    Raises:
        SetupError: There is no mpirun.
        Ended: The solver refused or failed, and has said why.
        Crashed: It ended without a word.
    """
    program = [mpirun(), "-n", str(ranks), sys.executable, "-P", "-m", "turgor", "solve", *words, "--piped"]
    with (
        TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            program,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            env=environment(),
            start_new_session=True,
        ) as ranked,
    ):
        try:
            folder = _listen(ranked, progress)
            code = ranked.wait()
        except BaseException:
            _stop(ranked)
            raise
        said = _relay(errors)
    if code == 0 and folder is not None:
        return folder
    if code in (1, 2, 130) and said:
        raise Ended(code)
    raise Crashed(f"the solver ended without a word (exit code {code}); perhaps the memory was full: try fewer cells")


def _listen(ranked: subprocess.Popen[str], progress: Progress) -> Path | None:
    """Show what the ranks print until they end; return the run folder if they told it."""
    folder = None
    for line in ranked.stdout or ():
        if line.startswith(FOLDER):
            folder = Path(line.removeprefix(FOLDER).rstrip("\n"))
        elif not hear(line, progress):
            print(line, end="", flush=True)
    return folder


def _relay(errors: IO[str]) -> bool:
    """Pass on the errors of the ranks; return whether there were any."""
    errors.seek(0)
    text = errors.read()
    print(text, end="", file=sys.stderr, flush=True)
    return bool(text.strip())


def _stop(ranked: subprocess.Popen[str]) -> None:
    """Interrupt the ranks as Ctrl-C does, wait until their files are closed, then end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        ranked.send_signal(number)
        try:
            ranked.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            continue
        return
