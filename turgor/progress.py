"""How far a long stage is: a bar with the time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

EVERY = 30.0
"""Seconds between two plain lines."""

SURE = 0.05
"""Part done from which the time left is told: steps grow at the start, and say nothing about the end."""

MARK = "@progress"
"""What begins the lines in which the ranks of a parallel run tell their progress to the process that started them."""


class Progress(Protocol):
    """Whom a long stage tells how far it is; in parallel every rank calls it, at the same steps."""

    def __call__(self, now: float, end: float, words: str) -> None:
        """Say that `now` of `end` is done (in any unit, from zero), and what is being done."""


class Communicator(Protocol):
    """The part of an MPI communicator that agreeing needs."""

    def allreduce(self, sendobj: int) -> int:
        """Return the sum over all ranks."""


def rank() -> int:
    """Return the number of this process under mpirun, 0 without."""
    named = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
    return int(next((os.environ[name] for name in named if name in os.environ), "0"))


def tell(text: str) -> None:
    """Print a line, once for all ranks."""
    if rank() == 0:
        print(text, flush=True)


def silent(now: float, end: float, words: str) -> None:
    """Say nothing."""


def duration(seconds: float) -> str:
    """Return a duration as people say it, for example "2 min 05 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Lines:
    """A plain line now and then, for files and pipes."""

    def __init__(self, stream: TextIO, every: float = EVERY) -> None:
        """Write to a stream, at most one line in `every` seconds."""
        self._stream, self._every = stream, every
        self._said, self._reached = time.monotonic(), 0.0

    def __call__(self, now: float, end: float, words: str) -> None:
        """Write a line if the last one was long ago."""
        clock = time.monotonic()
        if clock - self._said < self._every or end <= 0:
            return
        done = min(now / end, 1.0)
        seconds = (clock - self._said) * (end - now) / max(now - self._reached, 1e-9 * end)
        left = f", about {duration(seconds)} left" if done > SURE else ""
        self._said, self._reached = clock, now
        print(f"  {100 * done:3.0f} %  {words}{left}", file=self._stream, flush=True)


class Pipe:
    """Lines for the process that started this parallel run; it shows them its own way."""

    def __init__(self, stream: TextIO) -> None:
        """Write to a stream that another turgor reads."""
        self._stream, self._said = stream, 0.0

    def __call__(self, now: float, end: float, words: str) -> None:
        """Write a line, a few a second at most."""
        clock = time.monotonic()
        if clock - self._said > 0.3 or now >= end:
            self._said = clock
            print(MARK, repr(float(now)), repr(float(end)), words, file=self._stream, flush=True)


def hear(line: str, progress: Progress) -> bool:
    """Pass on a line written by `Pipe`; return whether it was one."""
    mark, _, rest = line.partition(" ")
    if mark != MARK:
        return False
    now, end, words = rest.split(" ", 2)
    progress(float(now), float(end), words.strip())
    return True


class Agreed:
    """Progress of many ranks, which also lets all of them stop together at Ctrl-C."""

    def __init__(self, comm: Communicator, progress: Progress) -> None:
        """Watch for Ctrl-C from now on; `progress` is called on every rank."""
        self._comm, self._progress, self._interrupted = comm, progress, 0
        signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: object) -> None:
        self._interrupted = 1

    def __call__(self, now: float, end: float, words: str) -> None:
        """Tell the progress; collective.

        Raises:
            KeyboardInterrupt: Some rank was interrupted.
        """
        self._progress(now, end, words)
        if self._comm.allreduce(self._interrupted):
            raise KeyboardInterrupt


@contextmanager
def shown(stream: TextIO | None = None) -> Iterator[Progress]:
    """Give the progress that fits a stream: a bar on a terminal, lines elsewhere."""
    stream = stream or sys.stdout
    if not stream.isatty():
        yield Lines(stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    look = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn(compact=True), TextColumn("{task.description}"))
    with Bars(*look, console=Console(file=stream), transient=True) as bars:
        task = bars.add_task("", total=1.0)

        def tell(now: float, end: float, words: str) -> None:
            bars.update(task, completed=now, total=end, description=words)

        yield tell
