"""A run that was stopped goes on: the state of all that has a memory, in one file, for any number of ranks.

`checkpoint/state.h5` is HDF5 behind a block of 512 bytes that begins with the SHA-256 of the rest. Functions are stored
in the point numbers of the mesh file, so that the next run may use another number of ranks. The file is written under a
temporary name and moved into place: there is always a complete one. Delete the folder to have a run start anew.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from turgor.fem.startup import MPI  # isort: skip  (first: it loads MPI)

import h5py
import numpy as np
from numpy.typing import NDArray

from turgor.fem.domain import Domain
from turgor.fem.march import Stepped
from turgor.fem.problem import Array, Nodal
from turgor.fem.runfolder import agree, replace
from turgor.fem.vtkhdf import gather

FORMAT = 1
FILE = "checkpoint/state.h5"
EVERY = 60.0
"""Seconds of wall time after which a checkpoint is due."""

BLOCK = 512
"""Bytes before the HDF5 content, the least that HDF5 allows."""

type State = Mapping[str, Nodal | Array]


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        step: The step after which it was taken.
        state: Who has a memory -> name -> numbers; functions as their values at this rank's owned nodes.
    """

    step: Stepped
    state: Mapping[str, Mapping[str, Array]]


@dataclass
class Checkpoint:
    """The checkpoint of one run.

    Attributes:
        folder: The run folder.
        case_hash: Of the run; a checkpoint of another one is not taken.
        domain: The mesh.
    """

    folder: Path
    case_hash: str
    domain: Domain
    _clock: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / FILE

    def is_due(self) -> bool:
        """Tell whether the last one was long ago; ranks may differ."""
        return time.monotonic() - self._clock >= EVERY

    def save(self, step: Stepped, state: Mapping[str, State]) -> None:
        """Write the state at the end of a step in place of an older one. Collective.

        Raises:
            SetupError: The file cannot be written.
        """
        comm = self.domain.comm
        points = gather(comm, _numbers(self.domain))
        stored = {
            owner: {
                name: _Stored.nodal(points, gather(comm, value.values)) if isinstance(value, Nodal) else _Stored(value)
                for name, value in values.items()
            }
            for owner, values in state.items()
        }
        agree(comm, lambda: self._write(step, stored))
        self._clock = time.monotonic()

    def load(self) -> Saved | str:
        """Read the checkpoint; collective.

        Returns:
            What it holds, or in words why it cannot be used; "" when there is none.
        """
        reason = agree(self.domain.comm, self._complaint)
        if reason is not None:
            return reason
        numbers = _numbers(self.domain)
        with h5py.File(self.path, "r", locking=False) as file:
            end, length, ahead = (float(file.attrs[name]) for name in ("time", "length", "ahead"))
            state = {_name(group): _read(group, numbers) for group in file.values()}
        return Saved(Stepped(end, length, False, ahead), state)

    def _write(self, step: Stepped, stored: Mapping[str, Mapping[str, _Stored]]) -> None:
        """Make the file in memory, where a full disk cannot break it, then put it in place."""
        memory = io.BytesIO()
        with h5py.File(memory, "w", userblock_size=BLOCK) as file:
            file.attrs.update({"format": FORMAT, "case": self.case_hash, "mesh": self.domain.hash})
            file.attrs.update({"time": step.time, "length": step.length, "ahead": step.ahead})
            for owner, values in stored.items():
                group = file.create_group(str(len(file)))
                group.attrs["name"] = owner
                for name, value in values.items():
                    dataset = group.create_dataset(str(len(group)), data=value.numbers)
                    dataset.attrs.update({"name": name, "at_points": value.at_points})
        content = memory.getbuffer()[BLOCK:]
        self.path.parent.mkdir(exist_ok=True)
        replace(self.path, _digest(content).ljust(BLOCK, b"\0") + content)

    def _complaint(self) -> str | None:
        """Return what is wrong with the file: "" when there is none, None when nothing is."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return ""
        if content[:64] != _digest(memoryview(content)[BLOCK:]):
            return f"{FILE} is damaged"
        with h5py.File(io.BytesIO(content), "r") as file:
            if file.attrs["format"] != FORMAT:
                return f"{FILE} has format {file.attrs['format']}, this version reads {FORMAT}"
            if file.attrs["case"] != self.case_hash or file.attrs["mesh"] != self.domain.hash:
                return f"{FILE} belongs to another case or mesh"
        return None


@dataclass(frozen=True)
class _Stored:
    """Numbers as they stand in the file.

    Attributes:
        numbers: Any array.
        at_points: Whether it has one number for each point of the mesh file.
    """

    numbers: Array
    at_points: bool = False

    @classmethod
    def nodal(cls, points: NDArray[np.int64], values: Array) -> _Stored:
        """Put values at some points in the order of the mesh file; zero at points that no cell has."""
        numbers = np.zeros(int(points.max(initial=-1)) + 1)
        numbers[points] = values
        return cls(numbers, at_points=True)


def _digest(content: memoryview) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _numbers(domain: Domain) -> NDArray[np.int64]:
    """Return the point number in the mesh file of each node of `Domain.space` that this rank owns."""
    points = np.asarray(domain.mesh.geometry.input_global_indices, dtype=np.int64)
    nodes = np.asarray(domain.space.dofmap.list)
    found = np.empty(int(nodes.max(initial=-1)) + 1, dtype=np.int64)
    found[nodes] = points[domain.mesh.geometry.dofmaps[0]]
    return found[: domain.space.dofmap.index_map.size_local]


def _name(stored: h5py.Group | h5py.Dataset) -> str:
    return str(stored.attrs["name"])


def _read(group: h5py.Group, numbers: NDArray[np.int64]) -> dict[str, Array]:
    """Read what one owner stored; of functions the values at some points."""
    return {
        _name(dataset): cast("Array", dataset[:][numbers] if dataset.attrs["at_points"] else dataset[:])
        for dataset in group.values()
    }


__all__ = ["MPI", "Checkpoint", "Saved", "State"]
