"""`turgor convert`: meshes of other programs in and out, with the names of regions and surfaces.

A format that holds numbers only, or only some letters, gets a file beside it, NAME.names.json, and names are read back
from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from turgor.materials.errors import SegmentationError, nearest
from turgor.materials.quantity import factor
from turgor.meshing import abaqus, exodus, msh, worlds
from turgor.meshing.distance import signed_distances
from turgor.meshing.formats import read_h5, read_meshio, replacing, write_h5, write_meshio, write_msh
from turgor.meshing.parts import Parts, joined, merged
from turgor.meshing.tetrahedra import Surface, Tetrahedra

Names = worlds.Names


@dataclass(frozen=True)
class World:
    """A format of meshes.

    Attributes:
        name: As people call it.
        read: From a path, and the names beside the file, to what it says.
        write: To a path.
        holds: "names", or "numbers" only.
        digits: Significant digits of coordinates that it keeps; 17 is all of them.
        longest: Bytes in the longest name.
        ascii: Whether it has no other letters than those of ASCII.
        forbidden: Characters that no name may have there.
        together: Whether regions and surfaces share one list of names.
    """

    name: str
    read: Callable[[Path, Names], Parts]
    write: Callable[[Path, Tetrahedra], None]
    holds: str = "names"
    digits: int = 17
    longest: int = 1000
    ascii: bool = False
    forbidden: str = '"\n\r\0'
    together: bool = False


def _numbers(path: Path, names: Names) -> Parts:
    return worlds.read_numbers(path, read_meshio(path), names)


def _families(path: Path, names: Names) -> Parts:
    return worlds.read_families(path, read_meshio(path))


def _nastran(path: Path, names: Names) -> Parts:
    """Read bulk data; meshio waits forever for the end of an empty one."""
    text = path.read_text(encoding="utf-8", errors="replace")
    _, begin, body = text.partition("BEGIN BULK")
    if not begin or not any(line.startswith("GRID") for line in body.splitlines()) or "ENDDATA" not in body:
        raise SegmentationError(f"{path}: has no GRID between BEGIN BULK and ENDDATA; is it complete?")
    return _numbers(path, names)


def _quoted(name: str) -> str:
    """Return a label of Abaqus, in quotes where it has more than letters, digits, - and _."""
    plain = name.replace("-", "").replace("_", "")
    return name if plain.isalnum() and name[0].isalpha() else f'"{name}"'


def _write_vtu(path: Path, mesh: Tetrahedra) -> None:
    write_meshio(path, worlds.with_regions(mesh))
    _insert(path, *worlds.field_data_of_vtu(worlds.numbers_of(mesh)))


def _write_xdmf(path: Path, mesh: Tetrahedra) -> None:
    write_meshio(path, worlds.with_regions(mesh), data_format="XML")
    _insert(path, *worlds.information_of_xdmf(worlds.numbers_of(mesh)))


def _insert(path: Path, words: bytes, after: bytes) -> None:
    """Put words into a file, after the first place where others stand."""
    head, found, tail = path.read_bytes().partition(after)
    path.write_bytes(head + found + words + tail)


def _write_nastran(path: Path, mesh: Tetrahedra) -> None:
    write_meshio(path, worlds.with_numbers(replace(mesh, points=worlds.rounded(mesh.points, 10)), "nastran:ref"))


_GMSH = World("gmsh", lambda path, _: msh.parse(path), write_msh)
_ABAQUS = World(
    "Abaqus",
    lambda path, _: abaqus.read(path),
    lambda path, mesh: write_meshio(path, worlds.with_sets(mesh, _quoted)),
    longest=80,
    ascii=True,
    forbidden='"\n\r\0,=*',
    together=True,
)
_MED = World(
    "MED",
    _families,
    lambda path, mesh: write_meshio(path, worlds.with_families(mesh)),
    longest=80,
    ascii=True,
    forbidden="\n\r\0/",
)
_VTU = World("VTU", _numbers, _write_vtu, together=True)
_XDMF = World("XDMF", _numbers, _write_xdmf, together=True)
_VTK = World("VTK legacy", _numbers, lambda path, mesh: write_meshio(path, worlds.with_regions(mesh)), "numbers")
_MEDIT = World(
    "Medit", _numbers, lambda path, mesh: write_meshio(path, worlds.with_numbers(mesh, "medit:ref")), "numbers"
)
_NASTRAN = World("Nastran", _nastran, _write_nastran, "numbers", digits=10)
_EXODUS = World("Exodus", lambda path, _: exodus.read(path), exodus.write, longest=255, ascii=True)

WORLDS: Mapping[str, World] = {
    ".msh": _GMSH,
    ".inp": _ABAQUS,
    ".med": _MED,
    ".vtu": _VTU,
    ".xdmf": _XDMF,
    ".vtk": _VTK,
    ".mesh": _MEDIT,
    ".meshb": _MEDIT,
    ".bdf": _NASTRAN,
    ".nas": _NASTRAN,
    ".e": _EXODUS,
    ".exo": _EXODUS,
}
"""Ending -> format; turgor's own .h5 comes beside."""


def convert(source: Path, target: Path, unit: str | None = None) -> list[str]:
    """Rewrite a mesh in the format of the target's name, in millimeters.

    Args:
        source: The mesh to read.
        target: The mesh to write.
        unit: Unit of the coordinates of `source`; millimeters when None.

    Returns:
        What was left out in reading and what the format can not hold, one sentence each.

    Raises:
        TurgorError: One of the two cannot be read or written; nothing is left half written.
    """
    world = _world(target, "written")
    if target.exists() and source.exists() and target.samefile(source):
        raise SegmentationError(f"{target}: is the mesh to read; write to another name")
    mesh, notes = read_mesh(source, unit)
    if world is None:
        distances = mesh.distance or signed_distances(mesh)
        write_h5(target, replace(mesh, distance=distances), "")
        return notes
    return [*notes, *_write(world, target, mesh)]


def read_mesh(source: Path, unit: str | None = None) -> tuple[Tetrahedra, list[str]]:
    """Read a mesh of any format; volumes without a name are numbered.

    Args:
        source: The file.
        unit: Unit of its coordinates; millimeters when None.

    Returns:
        The mesh in millimeters, and what should be told about it, one sentence each.

    Raises:
        TurgorError: It cannot be read.
    """
    if not source.is_file():
        raise SegmentationError(f"there is no file {source}")
    world = _world(source, "read")
    if world is None:
        if unit is not None:
            raise SegmentationError(f"{source}: is in mm already; leave out --unit")
        return read_h5(source), []
    parts = world.read(source, _numbers_beside(source))
    return joined(source, _renamed(parts, _beside(source)), _scale(unit), "number")


def _scale(unit: str | None) -> float:
    """Return millimeters in a unit."""
    try:
        return factor(unit, "mm") if unit else 1.0
    except ValueError as error:
        raise SegmentationError(f"--unit: {error}") from None


def _world(path: Path, what: str) -> World | None:
    """Return the format of a path by its ending; None for turgor's own."""
    ending = path.suffix.lower()
    if ending == ".h5":
        return None
    if ending not in WORLDS:
        known = (".h5", *WORLDS)
        raise SegmentationError(
            f"{path}: is in no format that can be {what}; expected one of {', '.join(known)}.{nearest(ending, known)}"
        )
    return WORLDS[ending]


def _write(world: World, target: Path, mesh: Tetrahedra) -> list[str]:
    """Write the mesh, and the names beside it where the format does not hold them; return what it can not hold."""
    called = tuple(surface.name for surface in mesh.surfaces)
    names = [*mesh.regions, *called]
    regions = _legal(world, mesh.regions)
    words = _legal(world, called, regions if world.together else ())
    written = [*regions, *words]
    surfaces = tuple(Surface(word, surface.kind) for word, surface in zip(words, mesh.surfaces, strict=True))
    beside = target.with_name(f"{target.name}.names.json")
    with replacing(target) as part:
        world.write(part, replace(mesh, regions=regions, surfaces=surfaces))
    lost = []
    if world.digits < 17:
        lost.append(f"{world.name} keeps {world.digits} digits of the coordinates")
    if world.holds == "numbers":
        numbers = worlds.numbers_of(mesh)
        lost.append(f"{world.name} keeps numbers, not names: {_listed(numbers)}; the names are in {beside.name}")
        _put_beside(beside, {f"{dim}:{number}": name for (dim, number), name in numbers.items()})
    elif names != written:
        changed = {word: name for word, name in zip(written, names, strict=True) if word != name}
        told = ", ".join(f"{name!r} is {word!r}" for word, name in changed.items())
        lost.append(f"{world.name} can not write every name: {told}; the names are in {beside.name}")
        _put_beside(beside, changed)
    else:
        beside.unlink(missing_ok=True)
    return lost


def _listed(numbers: Names) -> str:
    """Return "1 = breast, 2 = tumor; surfaces 3 = breast|tumor"."""
    words = {dim: ", ".join(f"{n} = {name}" for (d, n), name in numbers.items() if d == dim) for dim in (3, 2)}
    return words[3] + (f"; surfaces {words[2]}" if words[2] else "")


def _legal(world: World, names: tuple[str, ...], taken: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the names as the format can write them, each another, small and capital letters being the same."""
    found = list(taken)
    for name in names:
        word = "".join("_" if c in world.forbidden or (world.ascii and not c.isascii()) else c for c in name)
        word = word.encode()[: world.longest].decode(errors="ignore")
        used, number, unique = {other.casefold() for other in found}, 2, word
        while unique.casefold() in used:
            unique, number = f"{word[: world.longest - 5]}_{number}", number + 1
        found.append(unique)
    return tuple(found[len(taken) :])


def _put_beside(path: Path, names: Mapping[str, str]) -> None:
    """Write the names of numbers or of changed names."""
    with replacing(path) as part:
        part.write_text(
            json.dumps({"format": 1, "names": names}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def _beside(source: Path) -> dict[str, str]:
    """Return what NAME.names.json says; nothing when there is none.

    Raises:
        SegmentationError: It is there, and broken.
    """
    path = source.with_name(f"{source.name}.names.json")
    if not path.is_file():
        return {}
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["names"]
        return {str(key): str(name) for key, name in names.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SegmentationError(f"{path}: is no list of names; correct or remove it") from None


def _numbers_beside(source: Path) -> dict[tuple[int, int], str]:
    """Return the names of numbers that stand beside a file."""
    found = {}
    for key, name in _beside(source).items():
        dimension, colon, number = key.partition(":")
        if colon and dimension in {"2", "3"} and number.isdigit():
            found[int(dimension), int(number)] = name
    return found


def _renamed(parts: Parts, names: Mapping[str, str]) -> Parts:
    """Return the parts under the names that stand beside the file."""
    return replace(
        parts,
        volumes=merged((names.get(name, name), rows) for name, rows in parts.volumes.items()),
        surfaces=merged((names.get(name, name), rows) for name, rows in parts.surfaces.items()),
    )
