"""Mesh files: turgor's own HDF5, gmsh's .msh, and what meshio reads."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from turgor.materials.errors import MeshQualityError, SegmentationError
from turgor.materials.quantity import factor
from turgor.meshing.tetrahedra import Floats, Integers, Surface, Tetrahedra, assemble, faces_of, positive, volumes

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
    except (OSError, KeyError) as error:
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
    regions, surfaces = len(mesh.regions), len(mesh.surfaces)
    lines = [f'3 {i + 1} "{name}"' for i, name in enumerate(mesh.regions)]
    lines += [f'2 {regions + i + 1} "{surface.name}"' for i, surface in enumerate(mesh.surfaces)]
    with replacing(path) as part, part.open("wb") as file:
        file.write(b"$MeshFormat\n2.2 1 8\n" + np.array([1], dtype="<i4").tobytes() + b"\n$EndMeshFormat\n")
        file.write(f"$PhysicalNames\n{regions + surfaces}\n".encode() + "\n".join(lines).encode())
        file.write(f"\n$EndPhysicalNames\n$Nodes\n{len(mesh.points)}\n".encode())
        nodes = np.empty(len(mesh.points), dtype=[("number", "<i4"), ("x", "<f8", 3)])
        nodes["number"], nodes["x"] = np.arange(1, len(mesh.points) + 1), mesh.points
        file.write(nodes.tobytes() + f"\n$EndNodes\n$Elements\n{len(mesh.facets) + len(mesh.cells)}\n".encode())
        blocks = ((2, mesh.facets, mesh.facet_surface + regions + 1), (4, mesh.cells, mesh.region + 1))
        number = 1
        for kind, vertices, group in blocks:
            file.write(np.array([kind, len(vertices), 2], dtype="<i4").tobytes())
            count = np.arange(number, number + len(vertices))
            file.write(np.column_stack([count, group, group, vertices + 1]).astype("<i4").tobytes())
            number += len(vertices)
        file.write(b"\n$EndElements\n")


@dataclass(frozen=True)
class _Groups:
    """Elements of one dimension with the number of their physical group (0: none)."""

    vertices: Integers
    group: Integers


def read_msh(path: Path, unit: str | None = None) -> Tetrahedra:
    """Read a user's own mesh: physical volumes are regions, named physical surfaces stay.

    Args:
        path: Any mesh that meshio reads with physical groups (gmsh 2.2 and 4.1).
        unit: Unit of the coordinates; millimeters when None.

    Raises:
        SegmentationError: Unreadable, no tetrahedra, other cells than linear tetrahedra, volumes without a name.
        MeshQualityError: Flat or doubled tetrahedra, faces with three cells.
    """
    points, cells, triangles, names = _parts(path)
    used = sorted(set(cells.group.tolist()))
    nameless = [group for group in used if (3, group) not in names]
    if nameless:
        raise SegmentationError(
            f"{path}: {int(np.isin(cells.group, nameless).sum())} tetrahedra are in no physical volume with a name; "
            'name every volume in gmsh, for example Physical Volume("tumor") = {1};'
        )
    order = [number for (dim, number) in names if dim == 3 and number in used]
    index = np.searchsorted(np.sort(order), cells.group)
    region = np.array([order.index(number) for number in sorted(order)])[index]
    kept, compact = np.unique(cells.vertices, return_inverse=True)
    points = points[kept] * (factor(unit, "mm") if unit else 1.0)
    vertices = positive(points, compact.reshape(-1, 4))
    _refuse_broken(path, points, vertices)
    return assemble(
        points,
        vertices,
        region,
        tuple(names[3, number] for number in order),
        (np.zeros((0, 4), dtype=np.int64), []),
        _named_surfaces(kept, triangles, names),
    )


def _named_surfaces(
    kept: Integers, triangles: _Groups, names: dict[tuple[int, int], str]
) -> tuple[Integers, list[str]]:
    """Return the triangles of the named physical surfaces that lie in the mesh, in compact numbering."""
    wanted = [number for (dim, number) in names if dim == 2]
    inside = np.isin(triangles.group, wanted) & np.isin(triangles.vertices, kept).all(axis=1)
    rows = np.sort(np.searchsorted(kept, triangles.vertices[inside]), axis=1)
    index = np.array([wanted.index(number) for number in triangles.group[inside].tolist()], dtype=np.int64)
    table = np.unique(np.column_stack([rows, index.reshape(-1, 1)]), axis=0)
    present = sorted(set(table[:, 3].tolist()))
    table[:, 3] = np.searchsorted(present, table[:, 3])
    return table, [names[2, wanted[i]] for i in present]


def _refuse_broken(path: Path, points: Floats, cells: Integers) -> None:
    """Raise when cells are flat, or a face has more than two."""
    flat = int((volumes(points, cells) <= 0).sum())
    if flat:
        raise MeshQualityError(f"{path}: {flat} tetrahedra have no volume; mesh again in gmsh, with Mesh.Optimize = 1")
    if faces_of(cells, len(points)).most > 2:
        raise MeshQualityError(
            f"{path}: tetrahedra overlap (a face belongs to more than two); let each be in one physical volume only"
        )


def _parts(path: Path) -> tuple[Floats, _Groups, _Groups, dict[tuple[int, int], str]]:
    """Read points, tetrahedra, triangles and the names of physical groups by (dimension, number)."""
    raw = read_meshio(path)
    known = {"tetra", "triangle", "line", "vertex"}
    strange = sorted({block.type for block in raw.cells} - known)
    if strange:
        raise SegmentationError(f"{path}: has cells of type {', '.join(strange)}; turgor takes linear tetrahedra only")
    physical = raw.cell_data.get("gmsh:physical", [np.zeros(len(block.data), dtype=int) for block in raw.cells])
    found = {}
    for kind, corners in (("tetra", 4), ("triangle", 3)):
        chosen = [i for i, block in enumerate(raw.cells) if block.type == kind]
        empty = np.zeros((0, corners), dtype=np.int64)
        found[kind] = _Groups(
            np.concatenate([empty, *(raw.cells[i].data.astype(np.int64) for i in chosen)]),
            np.concatenate([empty[:, 0], *(np.asarray(physical[i]).astype(np.int64) for i in chosen)]),
        )
    if not len(found["tetra"].vertices):
        raise SegmentationError(f"{path}: has no tetrahedra; a volume mesh is needed (in gmsh: Mesh 3D)")
    names = {(int(dim), int(number)): str(name) for name, (number, dim) in raw.field_data.items()}
    points = np.zeros((len(raw.points), 3))
    points[:, : raw.points.shape[1]] = raw.points
    return points, found["tetra"], found["triangle"], names


def read_meshio(path: Path):  # type: ignore[no-untyped-def]
    """Read a mesh with meshio, whose ways of giving up are many.

    Raises:
        SegmentationError: The file cannot be read; says which formats can.
    """
    import meshio

    if not path.is_file():
        raise SegmentationError(f"there is no file {path}")
    noise = io.StringIO()
    try:
        with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise), np.errstate(all="ignore"):
            return meshio.read(path)
    except (
        SystemExit,
        meshio.ReadError,
        ValueError,
        KeyError,
        IndexError,
        OSError,
        AssertionError,
        TypeError,
    ) as error:
        why = (
            str(error) if not isinstance(error, SystemExit) and str(error) else "its content is not what its name says"
        )
        raise SegmentationError(f"{path}: cannot be read as a mesh ({why})") from None


def convert(source: Path, target: Path) -> list[str]:
    """Rewrite a mesh in the format of the target's name; return what could not be kept, one sentence each.

    Raises:
        SegmentationError: One of the two cannot be read or written.
    """
    import meshio

    if target.exists() and target.samefile(source):
        raise SegmentationError(f"{target}: is the mesh to read; write to another name")
    mesh = read_meshio(source)
    noise = io.StringIO()
    lost = []
    if mesh.field_data and target.suffix.lower() not in {".msh"}:
        names = ", ".join(sorted(mesh.field_data))
        lost.append(f"{target.suffix} has no names for regions and surfaces: {names} are kept as numbers only")
    try:
        with replacing(target) as part, contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            meshio.write(part, mesh, "gmsh22" if target.suffix.lower() == ".msh" else None)  # 4.1 loses the names
    except meshio.ReadError:
        known = ", ".join(sorted(meshio.extension_to_filetypes))
        raise SegmentationError(f"{target}: is in no format that can be written; expected one of {known}") from None
    except (SystemExit, meshio.WriteError, ValueError, KeyError, OSError, TypeError) as error:
        why = str(error) if not isinstance(error, SystemExit) and str(error) else "the format does not take it"
        raise SegmentationError(f"{target}: cannot be written ({why})") from None
    return lost
