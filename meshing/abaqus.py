"""Abaqus input files: nodes, tetrahedra and triangles with their sets and surfaces.

meshio writes them; its reader gives sets to the wrong elements where some blocks of elements have none, so they are
read here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from turgor.materials.errors import SegmentationError
from turgor.meshing.parts import Parts
from turgor.meshing.tetrahedra import Integers

_TETRAHEDRON = re.compile(r"(A|D|DC|DCC)?C3D4\w?")
_TRIANGLE = re.compile(r"(S3|STRI3|R3D3|M3D3|SFM3D3|DS3|CPS3|CPE3|F3D3|AC2D3|DC2D3)\w*")
_LINE = re.compile(r"(T2D|T3D|B2|B3|R2D2|CONN|MASS|SPRING|DASHPOT|ROTARY|GAP)\w*")
_SIDES = {"S1": (0, 1, 2), "S2": (0, 3, 1), "S3": (1, 3, 2), "S4": (2, 3, 0)}
"""Vertices of the faces of a tetrahedron, in the manual's order."""


@dataclass
class _Model:
    """What has been read so far, by the numbers of the file.

    Attributes:
        nodes: Rows of number, x, y, z.
        cells: Rows of number and four nodes.
        triangles: Rows of number and three nodes.
        strange: Type of other elements -> their number.
        elements: Set -> numbers of elements, and names of other sets.
        points: Set -> numbers of nodes, and names of other sets.
        surfaces: Surface -> (element or set, side) of each line.
    """

    nodes: list[np.ndarray] = field(default_factory=list)
    cells: list[Integers] = field(default_factory=list)
    triangles: list[Integers] = field(default_factory=list)
    strange: dict[str, int] = field(default_factory=dict)
    elements: dict[str, list[Integers | str]] = field(default_factory=dict)
    points: dict[str, list[Integers | str]] = field(default_factory=dict)
    surfaces: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def read(path: Path) -> Parts:
    """Read tetrahedra with their sets, and surfaces from sets of triangles, sides of tetrahedra and sets of nodes.

    Raises:
        SegmentationError: Cut off, garbled, in several files or parts, or with other cells than linear tetrahedra.
    """
    model = _Model()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        for words, options, lines in _blocks(path, text):
            _take(model, words, options, lines)
        return _parts(path, model)
    except (ValueError, OverflowError):
        raise SegmentationError(f"{path}: has words where numbers are due, or is cut off") from None


def _blocks(path: Path, text: str) -> list[tuple[str, dict[str, str], list[str]]]:
    """Return keyword, options and lines of data of each block."""
    found = []
    for block in re.split(r"^\*(?!\*)", "\n" + text, flags=re.MULTILINE)[1:]:
        head, *lines = [line for line in block.splitlines() if not line.startswith("**")]
        while head.rstrip().endswith(",") and lines:
            head += lines.pop(0)
        keyword, *rest = [word.strip() for word in re.findall(r'(?:[^,"]|"[^"]*")+', head)]
        pairs = [word.partition("=") for word in rest]
        options = {key.strip().upper(): value.strip().strip('"') for key, _, value in pairs}
        if keyword.upper() == "INCLUDE":
            raise SegmentationError(f"{path}: includes {options.get('INPUT', 'another file')}; put both into one file")
        found.append((keyword.upper(), options, [line for line in lines if line.strip()]))
    return found


def _take(model: _Model, keyword: str, options: Mapping[str, str], lines: list[str]) -> None:
    """Add a block to what has been read."""
    if keyword == "NODE":
        model.nodes.append(np.array([[*line.rstrip(", ").split(","), "0"][:4] for line in lines], dtype=np.float64))
    elif keyword == "ELEMENT":
        _take_elements(model, options, lines)
    elif keyword in {"ELSET", "NSET"} and keyword in options:
        sets = model.elements if keyword == "ELSET" else model.points
        sets.setdefault(options[keyword], []).extend(_members(options, lines))
    elif keyword == "SURFACE" and "NAME" in options:
        rows = [line.split(",") for line in lines]
        model.surfaces[options["NAME"]] = [(row[0].strip().strip('"'), row[-1].strip().upper()) for row in rows]


def _take_elements(model: _Model, options: Mapping[str, str], lines: list[str]) -> None:
    """Add elements of one type, and the set that they are given at once."""
    kind = options.get("TYPE", "").upper()
    if _LINE.fullmatch(kind):
        return
    numbers = np.array(",".join(line.rstrip(", ") for line in lines).split(","), dtype=np.int64)
    width = 4 if _TRIANGLE.fullmatch(kind) else 5
    if not _TETRAHEDRON.fullmatch(kind) and width == 5:
        model.strange[kind] = model.strange.get(kind, 0) + len(lines)
        return
    rows = numbers.reshape(-1, width)
    (model.cells if width == 5 else model.triangles).append(rows)
    if "ELSET" in options:
        model.elements.setdefault(options["ELSET"], []).append(rows[:, 0])


def _members(options: Mapping[str, str], lines: list[str]) -> list[Integers | str]:
    """Return the numbers and the names of sets that a set is made of."""
    words = [word.strip().strip('"') for line in lines for word in line.split(",") if word.strip()]
    numbers = np.array([word for word in words if word.isdigit()], dtype=np.int64)
    names: list[Integers | str] = [word for word in words if not word.isdigit()]
    if "GENERATE" in options:
        return [np.arange(first, last + 1, step) for first, last, step in _triples(numbers)]
    return [numbers, *names]


def _triples(numbers: Integers) -> list[tuple[int, int, int]]:
    """Return first, last and step of each generated range."""
    rows = numbers.reshape(-1, 3) if len(numbers) % 3 == 0 else np.column_stack([numbers.reshape(-1, 2), numbers[::2]])
    return [(int(a), int(b), int(c) if len(numbers) % 3 == 0 else 1) for a, b, c in rows]


def _flat(sets: Mapping[str, list[Integers | str]], name: str, above: tuple[str, ...] = ()) -> Integers:
    """Return the numbers of a set and of those that it names."""
    members = sets.get(name, [])
    within = [m for m in members if isinstance(m, np.ndarray)]
    others = [_flat(sets, m, (*above, name)) for m in members if isinstance(m, str) and m not in above]
    return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *within, *others]))


def _parts(path: Path, model: _Model) -> Parts:
    """Sort what was read by set."""
    if model.strange:
        told = " and ".join(f"{count} elements of type {kind or 'none'}" for kind, count in model.strange.items())
        raise SegmentationError(f"{path}: has {told}; turgor takes linear tetrahedra only")
    nodes = np.concatenate([np.zeros((0, 4)), *model.nodes])
    numbers, place = np.unique(nodes[:, 0].astype(np.int64), return_index=True)
    if len(numbers) < len(nodes):
        raise SegmentationError(f"{path}: has parts that number their nodes alike; merge them into one part")
    cells = np.concatenate([np.zeros((0, 5), dtype=np.int64), *model.cells])
    triangles = np.concatenate([np.zeros((0, 4), dtype=np.int64), *model.triangles])
    volumes, surfaces = {}, {}
    for name in model.elements:
        wanted = _flat(model.elements, name)
        if (inside := np.flatnonzero(np.isin(cells[:, 0], wanted))).size:
            volumes[name] = inside
        if (flat := np.isin(triangles[:, 0], wanted)).any():
            surfaces[name] = _looked_up(numbers, place, triangles[flat, 1:])
    for name, sides in model.surfaces.items():
        rows = [_side(model, cells, triangles, where, side) for where, side in sides]
        surfaces[name] = _looked_up(numbers, place, np.concatenate([np.zeros((0, 3), dtype=np.int64), *rows]))
    points = {name: _looked_up(numbers, place, _flat(model.points, name)) for name in model.points}
    return Parts(nodes[:, 1:], _looked_up(numbers, place, cells[:, 1:]), volumes, surfaces, points)


def _side(model: _Model, cells: Integers, triangles: Integers, where: str, side: str) -> Integers:
    """Return the nodes of one side of the tetrahedra of a set, or of its triangles."""
    wanted = np.array([int(where)]) if where.isdigit() else _flat(model.elements, where)
    if side in _SIDES:
        return cells[np.isin(cells[:, 0], wanted), 1:][:, list(_SIDES[side])]
    return triangles[np.isin(triangles[:, 0], wanted), 1:]


def _looked_up(numbers: Integers, place: Integers, wanted: Integers) -> Integers:
    """Return the row of each node; -1 for one that is not there."""
    if not len(numbers):
        return np.full(wanted.shape, -1)
    at = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
    return np.where(numbers[at] == wanted, place[at], -1)
