"""Mesh files: turgor's own HDF5, gmsh's .msh, and what meshio reads."""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from turgor.materials.errors import SegmentationError
from turgor.materials.quantity import factor
from turgor.meshing.msh import encode, parse
from turgor.meshing.parts import joined
from turgor.meshing.tetrahedra import Surface, Tetrahedra

if TYPE_CHECKING:
    import meshio

FORMAT = 1


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, and move it there when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_h5(path: Path, mesh: Tetrahedra, made_from: str) -> None:
    """Write what the solver reads.

    Args:
        path: NAME.h5; replaced at once, never half written.
        mesh: The mesh.
        made_from: Hash of what the mesh was made from; "" for a mesh of the user's own.
    """
    with replacing(path) as part, h5py.File(part, "w", track_order=True) as file:
        file.attrs.update(
            {
                "format": FORMAT,
                "hash": mesh.hash(),
                "made_from": made_from,
                "frame": "RAS",
                "unit": "mm",
                "regions": json.dumps(list(mesh.regions)),
                "surfaces": json.dumps([{"name": s.name, "kind": s.kind} for s in mesh.surfaces]),
            }
        )
        for name, array, kind in (
            ("points", mesh.points, "f8"),
            ("cells", mesh.cells, "i4"),
            ("region", mesh.region, "i2"),
            ("piece", mesh.piece, "i4"),
            ("facets/vertices", mesh.facets, "i4"),
            ("facets/surface", mesh.facet_surface, "i2"),
            *((f"distance/{region}", values, "f8") for region, values in mesh.distance.items()),
        ):
            file.create_dataset(name, data=np.ascontiguousarray(array, dtype=kind), track_times=False)


def read_h5(path: Path) -> Tetrahedra:
    """Read a mesh written by `write_h5`.

    Raises:
        SegmentationError: The file is missing, broken, or of another format.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise SegmentationError(f"{path}: not a mesh of this version of turgor; delete it and mesh again")
            return Tetrahedra(
                points=file["points"][()],
                cells=file["cells"][()].astype(np.int64),
                region=file["region"][()].astype(np.int64),
                regions=tuple(json.loads(file.attrs["regions"])),
                facets=file["facets/vertices"][()].astype(np.int64),
                facet_surface=file["facets/surface"][()].astype(np.int64),
                surfaces=tuple(Surface(**entry) for entry in json.loads(file.attrs["surfaces"])),
                piece=file["piece"][()].astype(np.int64),
                distance={name: data[()] for name, data in file["distance"].items()} if "distance" in file else {},
            )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SegmentationError(
            f"{path}: cannot be read as a mesh of turgor ({error}); delete it and mesh again"
        ) from None


def attributes(path: Path) -> dict[str, str]:
    """Return "hash" and "made_from" of a mesh file; empty when there is none that can be read."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                return {}
            return {key: str(file.attrs[key]) for key in ("hash", "made_from")}
    except (OSError, KeyError):
        return {}


def write_msh(path: Path, mesh: Tetrahedra) -> None:
    """Write gmsh's format 2.2 (binary) with regions and surfaces as named physical groups."""
    with replacing(path) as part, part.open("wb") as file:
        file.writelines(encode(mesh))


def read_msh(path: Path, unit: str | None = None) -> Tetrahedra:
    """Read a user's own mesh: physical volumes are regions, named physical surfaces stay.

    Args:
        path: A mesh of gmsh, version 2.2 or 4.1, text or binary.
        unit: Unit of the coordinates; millimeters when None.

    Raises:
        SegmentationError: Unreadable, no tetrahedra, other cells than linear tetrahedra, volumes without a name.
        MeshQualityError: Flat or doubled tetrahedra, faces with three cells.
    """
    return joined(path, parse(path), factor(unit, "mm") if unit else 1.0, "refuse")[0]


_GIVING_UP = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemExit,
    TypeError,
    ValueError,
    zlib.error,
)
"""Ways in which meshio gives up on a file, besides its own."""


@contextlib.contextmanager
def _meshio(path: Path, what: str) -> Iterator[None]:
    """Let meshio work silently; turn its ways of giving up into one sentence."""
    from meshio._exceptions import CorruptionError, ReadError, WriteError

    noise = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(noise),
            contextlib.redirect_stderr(noise),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
        ):
            warnings.simplefilter("ignore")
            yield
    except (CorruptionError, ReadError, WriteError, *_GIVING_UP) as error:
        told = not isinstance(error, SystemExit | LookupError | AttributeError | NameError) and str(error)
        why = " ".join(str(error).split()) if told else "its content is not what its name says"
        raise SegmentationError(f"{path}: cannot be {what} ({why})") from None


def read_meshio(path: Path) -> meshio.Mesh:
    """Read a mesh with meshio, whose ways of giving up are many.

    Raises:
        SegmentationError: The file cannot be read.
    """
    import meshio

    if not path.is_file():
        raise SegmentationError(f"there is no file {path}")
    with _meshio(path, "read as a mesh"):
        found = meshio.read(path)
    return found


def write_meshio(path: Path, mesh: meshio.Mesh, **options: str) -> None:
    """Write a mesh with meshio, in the format of the path's ending.

    Raises:
        SegmentationError: The file cannot be written.
    """
    import meshio

    with _meshio(path, "written"):
        meshio.write(path, mesh, **options)
