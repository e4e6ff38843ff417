"""Closed surfaces in: unit and frame, closed, oriented and nested, so that their geometry is kept as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from turgor.materials.errors import SegmentationError
from turgor.materials.quantity import factor
from turgor.meshing.boundary import Boundary, Part
from turgor.meshing.certificate import Origin
from turgor.meshing.clean import Ledger, Skin, cleaned
from turgor.meshing.crossing import crossings
from turgor.meshing.distance import to_triangles
from turgor.meshing.offset import with_volumes
from turgor.meshing.polygons import read_triangles, written_frame
from turgor.meshing.refine import refined
from turgor.meshing.shells import Shell, faced, identical, shells_of
from turgor.meshing.simplify import collapsed
from turgor.meshing.sizes import CELL_VOLUME, GROWTH, Sizes, surface_targets, vertex_sizes
from turgor.meshing.spec import MeshSpec, SurfaceSpec
from turgor.meshing.tetrahedra import Floats, areas
from turgor.meshing.voxelize import SampledAnatomy, voxelized

Log = Callable[[str], None]

TOUCH = 1e-5
"""Surfaces closer than this, in units of the diagonal, touch."""

SMALL, LARGE = 2.0, 2500.0
"""Diagonals of anatomy [mm] outside of which the unit must be wrong: a person in meters is 1.8 across."""

SMALL_PIECE = 0.5
"""Smallest diagonal of one surface of several [mm]."""

FLAT = 1e-6
"""Closed surfaces thinner than this, in units of the diagonal, are sheets."""

MOST_SHELLS = 1000

TOLERANCE = 0.04
"""How far a finer surface may be simplified, in units of the wanted edge length."""

SHORT = 0.7
"""Edges shorter than this, in units of the wanted length, are collapsed."""


@dataclass(frozen=True)
class SurfaceAnatomy:
    """Regions between nested closed surfaces.

    Attributes:
        boundary: The surfaces as given.
        repairs: What was changed, one sentence each.
        sampled: Makes the anatomy on voxels, from why, the repairs so far and a log.
    """

    boundary: Boundary
    repairs: tuple[str, ...]
    sampled: Callable[[str, tuple[str, ...], Log], SampledAnatomy]

    @property
    def extent(self) -> float:
        """Return the diagonal of the bounding box [mm]."""
        return float(np.linalg.norm(np.ptp(self.boundary.points, axis=0)))

    @property
    def origin(self) -> Origin:
        """Return volumes and contacts of the surfaces."""
        total: dict[str, float] = {}
        for part, volume in zip(self.boundary.parts, self.boundary.part_volumes().tolist(), strict=True):
            if part.meshed:
                total[part.name] = total.get(part.name, 0.0) + volume
        names = [part.name for part in self.boundary.parts]
        pairs = self.boundary.patches()[0].tolist()
        touching = frozenset((min(names[a], names[b]), max(names[a], names[b])) for a, b in pairs)
        return Origin(total, {}, touching, False, 0.0, self.repairs)

    def cells(self, sizes: Sizes) -> float:
        """Return the expected number of cells: fine layers at the surfaces, and what lies between them."""
        total = 0.0
        for name, volume in self.origin.volumes.items():
            size = sizes.inside[name]
            total += volume / size**3
            for other, finest in sizes.rim.items():
                if finest >= size:
                    continue
                area = self._between(name, other) if other != name else self._area(name)
                total += area / (2.0 * GROWTH) * (finest**-2.0 - size**-2.0)
        return total / CELL_VOLUME

    def fallback(self, why: str, log: Log) -> SampledAnatomy:
        """Return the same regions on voxels, for when the space between the triangles cannot be filled.

        Args:
            why: What went wrong with the triangles.
            log: Takes a sentence now and then.

        Raises:
            SegmentationError: The case is strict, or a region has no voxels.
        """
        return self.sampled(f"the space between the triangles could not be meshed ({why})", self.repairs, log)

    def _area(self, name: str) -> float:
        """Return the area of the surface of a region [mm^2]."""
        return float(areas(self.boundary.points, self.boundary.of(name)).sum())

    def _between(self, one: str, two: str) -> float:
        """Return the area where two regions touch [mm^2]."""
        names = np.array([part.name for part in self.boundary.parts])[self.boundary.sides]
        chosen = ((names == one).any(axis=1)) & ((names == two).any(axis=1))
        return float(areas(self.boundary.points, self.boundary.triangles[chosen]).sum())

    def surfaces(self, sizes: Sizes, log: Log) -> Boundary:
        """Split triangles that are longer than wanted, collapse those that are much shorter."""
        boundary = self.boundary
        target = surface_targets(boundary, sizes)
        edge = vertex_sizes(boundary.points, boundary.triangles)
        if (edge < SHORT * target).any():
            volumes = boundary.part_volumes()
            coarse = collapsed(boundary, SHORT * target, TOLERANCE * target, float(np.median(edge)))
            boundary = with_volumes(coarse, volumes)
            log(f"mesh: {len(self.boundary.triangles):,} triangles simplified to {len(boundary.triangles):,}")
        return replace(refined(boundary, lambda surface: surface_targets(surface, sizes)), given=True)


def from_surfaces(spec: MeshSpec, rim: Mapping[str, float], log: Log) -> SurfaceAnatomy | SampledAnatomy:
    """Read the closed surfaces of a case and find out what lies between them.

    Clean surfaces that are nested or apart keep their geometry. All others are repaired, and where that does not make
    them so, sampled on voxels.

    Raises:
        SegmentationError: A surface is unreadable, has the wrong unit or no inside, or its region is covered; or the
            case is strict and something would have to be repaired. The sentence says which.
    """
    ledger = Ledger(spec.strict)
    skins = []
    for index, surface in enumerate(spec.surfaces):
        skin = _skin(surface, index, _frame(spec, index), ledger)
        log(f"mesh: {surface.file.name}, {len(skin.triangles):,} triangles, {surface.region}")
        skins.append(skin)
    for repair in ledger.entries:
        log(f"mesh: {repair}")
    span = np.ptp([corner for skin in skins for corner in (skin.points.min(axis=0), skin.points.max(axis=0))], axis=0)
    _refuse_size("mesh.surfaces", float(np.linalg.norm(span)), spec.surfaces[0].unit, SMALL)
    sampled = partial(_sampled, skins, spec, rim)
    faults = [_fault(s.file.name, skin) for s, skin in zip(spec.surfaces, skins, strict=True) if not skin.closed]
    why: str | None = ", ".join(faults) or None
    shells = [] if why else [shell for i, skin in enumerate(skins) for shell in shells_of(skin, i)]
    why = why or _contact(shells, spec)
    if why is None:
        return SurfaceAnatomy(_nested(shells, spec), tuple(ledger.entries), sampled)
    return sampled(why, tuple(ledger.entries), log)


def _sampled(
    skins: Sequence[Skin], spec: MeshSpec, rim: Mapping[str, float], why: str, repairs: tuple[str, ...], log: Log
) -> SampledAnatomy:
    """Give up the exact geometry.

    Raises:
        SegmentationError: The case is strict, or a region has no inside.
    """
    log(f"mesh: {why}; taking voxels instead of the triangles")
    ledger = Ledger(spec.strict, list(repairs))
    ledger.add("mesh.surfaces", f"{why}; the exact geometry is given up for voxels")
    return voxelized(skins, spec, rim, ledger, log)


def _fault(file: str, skin: Skin) -> str:
    """Say what keeps a surface from being closed."""
    faults = []
    if skin.open_edges:
        faults.append(f"{skin.open_edges:,} open edges")
    if skin.crowded_edges:
        faults.append(f"{skin.crowded_edges:,} edges with more than two triangles")
    return f"{file} has {' and '.join(faults)}"


def _frame(spec: MeshSpec, index: int) -> str:
    """Return the frame of a surface: the one that the case says, or else the file, or else RAS.

    Raises:
        SegmentationError: Case and file disagree, or one surface is in LPS and of another nobody says it.
    """
    said, written = spec.surfaces[index].frame, [written_frame(surface.file) for surface in spec.surfaces]
    where = f"mesh.surfaces.{index}.frame"
    if said and written[index] and said != written[index]:
        raise SegmentationError(f"{where}: the case says {said}, but the file says SPACE={written[index]}; remove one")
    known = [surface.frame or frame for surface, frame in zip(spec.surfaces, written, strict=True)]
    if known[index] is None and "LPS" in known:
        other = spec.surfaces[known.index("LPS")].region
        raise SegmentationError(
            f"{where}: region {other!r} is in LPS, and of {spec.surfaces[index].region!r} the frame is not said; "
            'say frame = "LPS" or "RAS" for each surface'
        )
    return known[index] or "RAS"


def _skin(surface: SurfaceSpec, index: int, frame: str, ledger: Ledger) -> Skin:
    """Read one file and go up the ladder of repairs."""
    where = f"mesh.surfaces.{index} ({surface.file.name})"
    points, triangles = read_triangles(surface.file)
    points = points[np.unique(triangles)]
    triangles = np.unique(triangles, return_inverse=True)[1].reshape(-1, 3)
    points = points * factor(surface.unit, "mm")
    if frame == "LPS":
        points = points * np.array([-1.0, -1.0, 1.0])
    diagonal = float(np.linalg.norm(np.ptp(points, axis=0)))
    _refuse_size(where, diagonal, surface.unit, SMALL_PIECE)
    skin = faced(cleaned(points, triangles, where, ledger), where, ledger)
    thickness = 2.0 * abs(skin.volume) / float(areas(skin.points, skin.triangles).sum())
    if skin.closed and thickness < FLAT * diagonal:
        raise SegmentationError(f"{where}: encloses no volume, it is a flat sheet; mesh what lies around it instead")
    return skin


def _refuse_size(where: str, diagonal: float, unit: str, least: float) -> None:
    """Raise when something is too small or too large for the unit to be right."""
    if not least <= diagonal <= LARGE:
        raise SegmentationError(
            f"{where}: is {diagonal:.3g} mm across with unit {unit!r}, expected {least:g} mm to {LARGE:g} mm; "
            "say the unit in which the file was written"
        )


def _contact(shells: list[Shell], spec: MeshSpec) -> str | None:
    """Say which shells cross or touch each other or themselves.

    Raises:
        SegmentationError: Two surfaces are the same, so that the region between them is empty.
    """
    if len(shells) > MOST_SHELLS:
        return f"there are {len(shells):,} separate shells"
    points = np.concatenate([shell.points for shell in shells])
    counts = [len(shell.points) for shell in shells]
    start = np.cumsum([0, *counts])
    triangles = np.concatenate([shell.triangles + s for shell, s in zip(shells, start, strict=False)])
    owner, at_point = (
        np.repeat(np.arange(len(shells)), [len(s.triangles) for s in shells]),
        np.repeat(np.arange(len(shells)), counts),
    )

    def called(index: int) -> str:
        surface = spec.surfaces[shells[index].source]
        return f"{surface.region!r} ({surface.file.name})"

    near = TOUCH * float(np.linalg.norm(np.ptp(points, axis=0)))
    for i, shell in enumerate(shells):
        other = (at_point != i) & (points > shell.points.min(axis=0) - near).all(axis=1)
        other &= (points < shell.points.max(axis=0) + near).all(axis=1)
        if not other.any():
            continue
        distance = to_triangles(points[other], shell.points[shell.triangles])
        if distance.min() < near:
            j = int(at_point[other][distance.argmin()])
            _refuse_twins(shells[i], shells[j], spec, near)
            return f"{called(i)} and {called(j)} touch"
    pairs = crossings(points, triangles)
    if not len(pairs):
        return None
    one, two = owner[pairs[0]].tolist()
    return f"{called(one)} crosses itself" if called(one) == called(two) else f"{called(one)} and {called(two)} cross"


def _refuse_twins(one: Shell, two: Shell, spec: MeshSpec, near: float) -> None:
    """Raise when two shells of different regions are the same."""
    names = [spec.surfaces[shell.source].region for shell in sorted((one, two), key=lambda shell: shell.source)]
    if names[0] != names[1] and identical(one, two, near):
        raise SegmentationError(
            f"mesh.surfaces: {names[0]!r} and {names[1]!r} have the same surface, so that region {names[0]!r}, "
            "the earlier one, has no thickness; remove one of them"
        )


def winding(point: Floats, corners: Floats) -> float:
    """Return how often triangles wind around a point: 1 inside a closed surface, 0 outside.

    Source: Van Oosterom and Strackee (1983).
    """
    a, b, c = (corners[:, i] - point for i in range(3))
    x, y, z = (np.linalg.norm(side, axis=1) for side in (a, b, c))
    triple = np.einsum("ij,ij->i", a, np.cross(b, c))
    rest = x * y * z + (a * b).sum(axis=1) * z + (b * c).sum(axis=1) * x + (c * a).sum(axis=1) * y
    return float(2.0 * np.arctan2(triple, rest).sum() / (4.0 * np.pi))


def _holds(shell: Shell, point: Floats) -> bool:
    """Say whether a point is inside a shell."""
    if (point < shell.points.min(axis=0)).any() or (point > shell.points.max(axis=0)).any():
        return False
    return winding(point, shell.points[shell.triangles]) > 0.5


def _nested(shells: list[Shell], spec: MeshSpec) -> Boundary:
    """Name the spaces between the shells and put the surfaces between unlike ones together."""
    order = sorted(range(len(shells)), key=lambda i: -shells[i].volume)
    around: dict[int, list[int]] = {}
    larger: list[int] = []
    for i in order:
        around[i] = [j for j in larger if _holds(shells[j], shells[i].points[0])]
        larger.append(i)
    filled = {i: _region_inside([*around[i], i], shells, spec) for i in order}
    space: dict[int, int] = {}
    parts = [Part("outside", "outside")]
    for i in order:
        parent = around[i][-1] if around[i] else None
        beyond = parts[space[parent]].name if parent is not None else "outside"
        if filled[i] == beyond:
            space[i] = space[parent] if parent is not None else 0
        else:
            space[i] = len(parts)
            kind = "outside" if filled[i] == "outside" else "cavity" if filled[i] in spec.cavities else "region"
            parts.append(Part(filled[i], kind))
    _refuse_covered(parts, spec)
    points, triangles, sides, start = [], [], [], 0
    for i in order:
        outer = space[around[i][-1]] if around[i] else 0
        if outer == space[i]:
            continue
        own = shells[i].triangles + start
        triangles.append(own if space[i] < outer else own[:, ::-1])
        sides.append(np.tile(sorted((space[i], outer)), (len(own), 1)))
        points.append(shells[i].points)
        start += len(shells[i].points)
    return Boundary(np.concatenate(points), np.concatenate(triangles), np.concatenate(sides), tuple(parts)).cleaned()


def _region_inside(enclosing: list[int], shells: list[Shell], spec: MeshSpec) -> str:
    """Return the region of the space inside these shells: the last surface of the case that holds it."""
    region = "outside"
    for index, surface in enumerate(spec.surfaces):
        if sum(shells[i].source == index for i in enclosing) % 2:
            region = surface.region
    return region


def _refuse_covered(parts: list[Part], spec: MeshSpec) -> None:
    """Raise when a region has no space left."""
    for surface in spec.surfaces:
        if surface.region not in {part.name for part in parts}:
            raise SegmentationError(
                f"mesh.surfaces: region {surface.region!r} is covered by later surfaces; "
                "put the inner surface after the outer"
            )
