"""The run folder on disk: one writer at a time, complete files only, a status that survives a kill.

Rank 0 alone touches files. Every public call is collective: the work is done inside `agree`, which tells all ranks how
it went, so that calling code has no rank branches and no rank is left waiting when the disk is full.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, cast

import numpy as np

from turgor.materials.errors import CaseError, SetupError, TurgorError

type Json = bool | int | float | str | np.generic | Sequence[Json] | Mapping[str, Json] | None
"""What may stand in a JSON file of the run folder; numbers are finite."""

FORMAT = 1
LOCK = "run.lock"
OUTPUTS = (
    "case.toml",
    "resolved.json",
    "run.json",
    *(f"{table}.csv" for table in ("quantities", "balance", "regions", "plasma")),
    *(f"{table}.csv" for table in ("fluid", "surfaces", "rim", "profile", "fate")),
    "errorbar.json",
    "fields.vtkhdf",
    "references.bib",
    "report.html",
    "figures",
    "checkpoint",
)
"""What a run writes and a new start in the same folder replaces; the log goes on."""

log = logging.getLogger("turgor.run")


class Communicator(Protocol):
    """The part of an MPI communicator (mpi4py's `Intracomm`) that writing needs."""

    @property
    def rank(self) -> int:
        """Number of this process."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def bcast(self, obj: object, root: int = 0) -> object:
        """Give the object of the root to all."""


def agree[T](comm: Communicator, action: Callable[[], T]) -> T:
    """Do something on rank 0 and let all ranks have its result, or its error.

    Collective. An error of the family, or one of the file system, is raised with the same words on every rank.

    Raises:
        TurgorError: What the action raised, of the same class.
        SetupError: The file system refused; the message names the file.
    """
    result: T | None = None
    failure: tuple[type[TurgorError], str] | None = None
    if comm.rank == 0:
        try:
            result = action()
        except TurgorError as error:
            failure = (type(error), str(error))
        except OSError as error:
            failure = (SetupError, f"{error.filename or 'the run folder'}: {error.strerror or error}")
    result, failure = cast("tuple[T, tuple[type[TurgorError], str] | None]", comm.bcast((result, failure)))
    if failure is not None:
        raise failure[0](failure[1])
    return result


@dataclass(frozen=True)
class Identity:
    """What tells one run from another; `case_hash` covers everything that can change the numbers."""

    name: str
    title: str
    case_hash: str
    version: str


@dataclass(frozen=True)
class RunPlace:
    """Where a run lives and how far it got: "new", "finished", "failed", "running" or "killed"."""

    path: Path
    status: str


def find_run(into: Path, identity: Identity, comm: Communicator) -> RunPlace:
    """Find the folder `<name>-<hash6>` of a run inside `into`; nothing is written.

    Collective. A folder that another case with the same six digits has taken is left alone: more digits are used.
    """
    return agree(comm, lambda: _find_run(into, identity))


def status(folder: Path) -> str:
    """Return "new", "finished", "failed", "running", or "killed" for a run whose process ended without a word."""
    said = _read(folder / "run.json").get("status")
    if said is None:
        return "new"
    owner = _read(folder / LOCK)
    if said == "running" and not (owner and _may_live(owner)):
        return "killed"
    return str(said)


class RunFolder:
    """The open folder of one run: locked while it lasts, marked finished or failed when it ends.

    Use as a context. Input must have been checked before: from here on the folder exists.

    Attributes:
        path: The folder.
        comm: Who writes.
        until: Time [s] up to which the tables and fields of an earlier start are kept; None when it starts anew.
    """

    def __init__(self, path: Path, identity: Identity, comm: Communicator, *, keep: bool = False) -> None:
        """Make or take over the folder, lock it, and begin its log and run.json. Collective.

        Args:
            path: The folder.
            identity: Of the run.
            comm: Who writes.
            keep: Leave what an earlier start wrote until `resume` or `start_anew` is called.

        Raises:
            CaseError: Another process is writing there, or the folder cannot be made or written.
        """
        self.path = path
        self.comm = comm
        self.until: float | None = None
        self._began = time.monotonic()
        self._state: dict[str, Json] = _head(identity, comm.size)
        self._stages: dict[str, Json] = {}
        self._disk = _Disk(path)
        agree(comm, lambda: self._open(keep))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            agree(self.comm, lambda: self._end("finished", ""))
        elif self.comm.rank == 0:
            self._fail(error)

    def resume(self, time: float) -> None:
        """Go on with the tables and fields of an earlier start, kept up to a time [s]. Collective."""
        self.until = time
        agree(self.comm, lambda: self._go_on(time))

    def start_anew(self, reason: str = "") -> None:
        """Remove what an earlier start wrote; the log says why. Collective."""
        agree(self.comm, lambda: self._start_anew(reason))

    def file(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.path / name

    def write(self, name: str, content: str | bytes) -> None:
        """Write a whole file (text as UTF-8), never half of it. Collective.

        Raises:
            SetupError: The file system refused.
        """
        raw = content.encode() if isinstance(content, str) else content
        agree(self.comm, lambda: replace(self.path / name, raw))

    def write_json(self, name: str, content: Mapping[str, Json]) -> None:
        """Write a JSON file. Collective.

        Raises:
            ValueError: A number is not finite; the message names its key.
        """
        raw = encode(content)
        agree(self.comm, lambda: replace(self.path / name, raw))

    def note(self, values: Mapping[str, Json]) -> None:
        """Put values into run.json, replacing those of the same keys. Collective.

        Raises:
            ValueError: A number is not finite; the message names its key.
        """
        encode(values)
        self._state.update(values)
        agree(self.comm, self._save)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; run.json gains its seconds when it is done. Collective."""
        begin = time.monotonic()
        yield
        self._stages[name] = round(time.monotonic() - begin, 3)
        self.note({"stages": dict(self._stages)})

    def _open(self, keep: bool) -> None:
        self._disk.open()
        try:
            if not keep:
                self._start_anew("")
        except OSError:
            self._disk.close()
            raise

    def _start_anew(self, reason: str) -> None:
        _clear(self.path)
        self._disk.tell_earlier(f"its outputs are replaced, this one starts anew{reason and f': {reason}'}")
        self._save()

    def _go_on(self, time: float) -> None:
        """Count the time spent so far, and say where the run is taken up."""
        earlier = self._disk.earlier
        spent, before = earlier.get("wall_seconds"), earlier.get("resumed_at")
        self._began -= spent if isinstance(spent, float | int) else 0.0
        self._state["resumed_at"] = [*(before if isinstance(before, list) else []), time]
        self._disk.tell_earlier(f"it goes on at t = {time:g} s")
        self._save()

    def _save(self) -> None:
        self._state["wall_seconds"] = round(time.monotonic() - self._began, 3)
        replace(self.path / "run.json", encode(self._state))

    def _end(self, status: str, reason: str) -> None:
        self._state.update({"status": status, "reason": reason, "finished": _now()})
        try:
            self._save()
            log.info("%s after %s s%s", status, self._state["wall_seconds"], reason and f": {reason}")
        finally:
            self._disk.close()

    def _fail(self, error: BaseException) -> None:
        """Note the reason without communicating, for the error may be known to this rank only."""
        try:
            self._end("failed", _words(error))
        except OSError as refusal:
            log.error("run.json could not be written: %s", refusal)


def encode(content: Mapping[str, Json]) -> bytes:
    """Return JSON in UTF-8, indented, with a final newline.

    Raises:
        ValueError: A number is not finite; the message names its key.
    """
    bad = next(_not_finite(content, ""), None)
    if bad is not None:
        raise ValueError(f"{bad} is not a finite number and cannot stand in a JSON file")
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    return text.encode() + b"\n"


class _Disk:
    """What only rank 0 holds while a run lasts: the lock and the log file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.earlier: Mapping[str, object] = {}
        self._lock = -1
        self._handler: logging.Handler = logging.NullHandler()
        self._level = logging.NOTSET

    def open(self) -> None:
        """Make and lock the folder, begin the log."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock, dead = _acquire(self.path / LOCK)
            self.earlier = _read(self.path / "run.json")
            self._handler = logging.FileHandler(self.path / "log.txt", encoding="utf-8")
        except OSError as error:
            self._release()
            raise CaseError(
                f"the run folder {self.path} cannot be written: {error.strerror or error}. "
                f"Choose another place with --into, or mend its permissions."
            ) from None
        self._begin_log()
        if dead:
            log.info("the lock of process %s on %s, which is gone, was replaced", dead.get("pid"), dead.get("host"))

    def tell_earlier(self, consequence: str) -> None:
        """Put into the log how the earlier start ended, if there was one, and what follows from it."""
        if self.earlier:
            said = "was killed" if self.earlier.get("status") == "running" else f"has {self.earlier.get('status')}"
            log.info("an earlier run in this folder %s; %s", said, consequence)

    def close(self) -> None:
        """End the log and give the lock back."""
        logger = logging.getLogger("turgor")
        logger.removeHandler(self._handler)
        logger.setLevel(self._level)
        self._handler.close()
        self._release()

    def _begin_log(self) -> None:
        logger = logging.getLogger("turgor")
        self._level = logger.level
        if logger.getEffectiveLevel() > logging.INFO:
            logger.setLevel(logging.INFO)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(self._handler)

    def _release(self) -> None:
        if self._lock >= 0:
            (self.path / LOCK).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1


def _acquire(path: Path) -> tuple[int, Mapping[str, object]]:
    """Lock a file for this process; return its descriptor and the dead owner whose lock was replaced, if any.

    The kernel's lock ends with its process, so a lock file without one is stale. Where the file system has no such
    locks, or the owner is on another host, what the file says counts.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        locked = _flock(descriptor, path)
        if os.fstat(descriptor).st_ino == _inode(path):
            break
        os.close(descriptor)
    owner = _read(path)
    if owner and (owner.get("host") != platform.node() or not locked) and _may_live(owner):
        os.close(descriptor)
        raise CaseError(_taken(path, owner))
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, encode(_owner()), 0)
    os.fsync(descriptor)
    return descriptor, owner


def _flock(descriptor: int, path: Path) -> bool:
    """Take the kernel's lock; return False where there are none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CaseError(_taken(path, _read(path))) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            os.close(descriptor)
            raise
        return False
    return True


def _taken(path: Path, owner: Mapping[str, object]) -> str:
    who = f"process {owner.get('pid', 'unknown')} on {owner.get('host', 'an unknown host')}"
    return (
        f"the run folder {path.parent} is being written by {who}. Wait for that run, or stop it; "
        f"if it is surely gone, delete {path}."
    )


def _owner() -> dict[str, Json]:
    return {"pid": os.getpid(), "host": platform.node(), "since": _now()}


def _may_live(owner: Mapping[str, object]) -> bool:
    """Say whether the process of a lock may still be at work; on another host it may."""
    if owner.get("host") != platform.node():
        return True
    try:
        os.kill(int(str(owner.get("pid"))), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError):
        return False
    return True


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return -1


def _find_run(into: Path, identity: Identity) -> RunPlace:
    for digits in (6, 12, len(identity.case_hash)):
        path = into / f"{identity.name}-{identity.case_hash[:digits]}"
        if _read(path / "run.json").get("case_hash", identity.case_hash) == identity.case_hash:
            break
    return RunPlace(path, status(path))


def _head(identity: Identity, ranks: int) -> dict[str, Json]:
    return {
        "format": FORMAT,
        "status": "running",
        "reason": "",
        "name": identity.name,
        "title": identity.title,
        "case_hash": identity.case_hash,
        "version": identity.version,
        "started": _now(),
        "finished": None,
        "wall_seconds": 0.0,
        "ranks": ranks,
        "process": _owner(),
        "stages": {},
    }


def _clear(folder: Path) -> None:
    """Remove what a run writes; files of the user stay."""
    for path in (*(folder / name for name in OUTPUTS), *folder.glob(".*.tmp")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _read(path: Path) -> Mapping[str, object]:
    """Return a JSON object from a file, empty if there is none or it cannot be read as one."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def replace(path: Path, raw: bytes) -> None:
    """Write a file beside its place, then move it there in one step."""
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _not_finite(value: Json, key: str) -> Iterator[str]:
    """Yield the keys of numbers that are not finite."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _not_finite(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, float | np.floating):
        if not math.isfinite(value):
            yield f"{key} = {value}"
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for i, inner in enumerate(value):
            yield from _not_finite(inner, f"{key}.{i}")


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot stand in a JSON file")


def _words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "stopped by the user"
    return str(error) if isinstance(error, TurgorError) else f"{type(error).__name__}: {error}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
