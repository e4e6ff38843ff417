"""The certificate of a mesh: what of the segmentation is in it, how good the cells are, what was repaired."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from turgor.materials.errors import MeshQualityError, SegmentationError
from turgor.meshing import closeness
from turgor.meshing.census import Census, Image, by_group, census, contact_faults, wanted_contacts
from turgor.meshing.formats import replacing
from turgor.meshing.printout import lines, summary, tables
from turgor.meshing.specks import remarks
from turgor.meshing.tetrahedra import (
    Floats,
    Integers,
    Tetrahedra,
    areas,
    dihedral_angles,
    edge_lengths,
    radius_ratio,
    volumes,
)

__all__ = ["Origin", "certify", "lines", "read", "side_of", "summary", "tables", "write"]

Json = Mapping[str, object]

FLAT = 0.05
"""Cells flatter than this [degrees] cannot be computed with, whoever made them."""

SMALLEST_DIHEDRAL, WARNED_DIHEDRAL = 5.0, 10.0
"""Below the first [degrees] a mesh is refused, below the second it is warned of."""

PROTECTED_TOLERANCE, TOLERANCE, MENTIONED = 0.02, 0.05, 0.1
"""Errors of volumes that are refused in protected regions, in all large regions, and told of single pieces."""

NOTABLE = 0.005
"""Error of a region's volume from which it is told."""

MOST_NAMED = 5
"""Pieces that a warning names."""

THIN, SHEET = 2.0, 200
"""Voxels across below which a sheet is told of, and voxels a piece from which a region may be one."""

LARGE = 1000
"""Voxels from which on the volume of a region must be kept, whatever it is called."""


@dataclass(frozen=True)
class Origin:
    """What a mesh is measured against.

    Attributes:
        volumes: Volume of each region as segmented [mm^3]; empty for a mesh of one's own.
        voxels: Number of voxels of each region; empty for surfaces.
        contacts: Pairs of names that touch in the segmentation.
        coarse: Whether the working grid is coarser than the image.
        cell: Volume of a voxel of the image [mm^3]; 0 for surfaces.
        repairs: What was changed, one sentence each.
        protected: Regions whose pieces must have their volumes.
        image: The voxels; None for surfaces.
    """

    volumes: Mapping[str, float]
    voxels: Mapping[str, int]
    contacts: frozenset[tuple[str, str]]
    coarse: bool
    cell: float
    repairs: tuple[str, ...]
    protected: tuple[str, ...] = field(default=())
    image: Image | None = field(default=None)


@dataclass(frozen=True)
class Measures:
    """Numbers by cell.

    Attributes:
        volume: [mm^3], shape (m,).
        smallest: Smallest dihedral angle [degrees], shape (m,).
        largest: Largest dihedral angle [degrees], shape (m,).
        ratio: Radius ratio, 1 for a regular cell, shape (m,).
        edges: Lengths [mm], shape (m, 6).
    """

    volume: Floats
    smallest: Floats
    largest: Floats
    ratio: Floats
    edges: Floats

    @classmethod
    def of(cls, mesh: Tetrahedra) -> Measures:
        """Measure all cells."""
        angles = dihedral_angles(mesh.points, mesh.cells)
        return cls(
            volumes(mesh.points, mesh.cells),
            angles.min(axis=1),
            angles.max(axis=1),
            radius_ratio(mesh.points, mesh.cells),
            edge_lengths(mesh.points, mesh.cells),
        )


def certify(mesh: Tetrahedra, origin: Origin) -> tuple[dict[str, object], list[str]]:
    """Measure a mesh against its segmentation.

    Returns:
        The certificate, and warnings, one sentence each.

    Raises:
        SegmentationError: A region, a piece or a contact is lost or gained, or a volume is off.
        MeshQualityError: A cell is inverted or flat, or the outer facets do not close.
    """
    for index, name in enumerate(mesh.regions):
        if not (mesh.region == index).any():
            raise SegmentationError(f"region {name!r} has no cells in the mesh; set a smaller mesh.size for it")
    measures = Measures.of(mesh)
    warnings = _flat_cells(measures, bool(origin.volumes))
    bodies = census(mesh, measures.volume, origin.image)
    faults, crowded = _complaints(mesh, bodies, origin)
    if faults:
        more = f" ({len(faults) - 1} more of this kind)" if len(faults) > 1 else ""
        raise SegmentationError(f"mesh: {faults[0]}{more}; set a smaller mesh.size there")
    warnings += crowded
    warnings += _beside(bodies, origin)
    warnings += remarks(origin.image.pieces, origin.protected) if origin.image is not None else []
    warnings += _thin(mesh, bodies, origin)
    contacts = {_ordered(*s.name.split("|")) for s in mesh.surfaces if s.kind != "named"}
    content = {
        "regions": {name: _region(mesh, i, measures, bodies, origin) for i, name in enumerate(mesh.regions)},
        "surfaces": _surfaces(mesh),
        "contacts": {
            "segmentation": sorted("|".join(pair) for pair in origin.contacts),
            "mesh": sorted("|".join(pair) for pair in contacts),
        },
        "region_pieces": _pieces(mesh, measures, bodies, origin),
        "piece_contacts": _piece_contacts(bodies, origin),
        "distance_to_voxels": _distance(mesh, origin),
        "points": len(mesh.points),
        "cells": len(mesh.cells),
        "pieces": int(mesh.piece.max()) + 1,
        "volume_mm3": float(measures.volume.sum()),
        "inverted_cells": 0,
        "outer_boundary": "closed",
        **_quality(measures, np.ones(len(mesh.cells), dtype=bool)),
        "cells_below_10_degrees": int((measures.smallest < WARNED_DIHEDRAL).sum()),
        "repairs": list(origin.repairs),
        "warnings": warnings,
    }
    return content, warnings


def _flat_cells(measures: Measures, made_here: bool) -> list[str]:
    """Raise when cells are too flat; warn when they are nearly so."""
    if not (measures.volume > 0).all():
        raise MeshQualityError(f"{int((measures.volume <= 0).sum())} cells of the mesh are inverted or flat")
    smallest = float(measures.smallest.min())
    if smallest < (SMALLEST_DIHEDRAL if made_here else FLAT):
        raise MeshQualityError(
            f"the flattest cell has a dihedral angle of {smallest:.2g} degrees; "
            "set a smaller mesh.size where regions are thin"
        )
    if smallest >= WARNED_DIHEDRAL:
        return []
    limit = WARNED_DIHEDRAL if smallest >= SMALLEST_DIHEDRAL else SMALLEST_DIHEDRAL
    count = int((measures.smallest < limit).sum())
    return [f"{count} cells have a dihedral angle below {limit:.0f} degrees, the smallest {smallest:.2g}"]


def _thin(mesh: Tetrahedra, bodies: Census, origin: Origin) -> list[str]:
    """Warn of regions that are sheets of less than two voxels: twice the volume over the area is their thickness."""
    found = []
    for index, name in enumerate(mesh.regions):
        own = bodies.region == index
        thickness = 2.0 * float(bodies.volume[own].sum()) / float(bodies.area[own].sum())
        voxels = thickness / origin.cell ** (1 / 3) if origin.cell else THIN
        if voxels < THIN and origin.voxels.get(name, 0) > SHEET * int(own.sum()):
            found.append(f"region {name!r} is {voxels:.1f} voxels thick on average; its thickness is not resolved")
    return found


def _complaints(mesh: Tetrahedra, bodies: Census, origin: Origin) -> tuple[list[str], list[str]]:
    """Return what a mesh must not have, and what is only worth a warning."""
    faults: list[str] = []
    if origin.image is not None:
        faults += contact_faults(origin.image, bodies.contacts)
    elif origin.contacts:
        faults += _lost_names(mesh, origin)
    crowded: list[str] = []
    achieved = np.bincount(bodies.region, bodies.volume, len(mesh.regions))
    for index, name in enumerate(mesh.regions):
        wanted, off = origin.volumes.get(name, 0.0), float(achieved[index]) - origin.volumes.get(name, 0.0)
        sentence = _off(f"region {name!r}", wanted, off)
        protected = name in origin.protected
        if wanted and protected and abs(off) > max(PROTECTED_TOLERANCE * wanted, origin.cell):
            faults.append(sentence)
        elif wanted and abs(off) > TOLERANCE * wanted and origin.voxels.get(name, LARGE + 1) > LARGE:
            faults.append(sentence)
        elif wanted and abs(off) > max(NOTABLE * wanted, origin.cell):
            crowded.append(sentence)
        if origin.image is not None:
            own = np.flatnonzero(bodies.region == index)
            _small_pieces(name, own, bodies, origin, (faults if protected else crowded, crowded))
    return faults, crowded


def _small_pieces(name: str, own: Integers, bodies: Census, origin: Origin, into: tuple[list[str], list[str]]) -> None:
    """Complain of the pieces of a region whose volume is off: one by one if protected, together if not."""
    if origin.image is None or len(own) < 2:
        return
    pieces = origin.image.pieces
    wanted = pieces.volumes[bodies.piece[own]]
    off = bodies.volume[own] - wanted
    share = PROTECTED_TOLERANCE if name in origin.protected else MENTIONED
    bad = np.flatnonzero(np.abs(off) > np.maximum(share * wanted, origin.cell))
    if name in origin.protected:
        into[0].extend(_off(pieces.said(int(bodies.piece[own[i]])), float(wanted[i]), float(off[i])) for i in bad)
        return
    bad = np.flatnonzero(np.abs(off) > share * wanted)
    if len(bad):
        worst = bad[np.argmax(np.abs(off[bad]) / wanted[bad])]
        sentence = _off(pieces.said(int(bodies.piece[own[worst]])), float(wanted[worst]), float(off[worst]))
        into[1].append(f"{len(bad)} of {len(own)} pieces of {name!r} are off by more than 10 %, the most {sentence}")


def _beside(bodies: Census, origin: Origin) -> list[str]:
    """Say which pieces are not where their voxels are."""
    if origin.image is None or not len(bodies.beside):
        return []
    pieces, which = origin.image.pieces, bodies.beside.tolist()
    largest = sorted(which, key=lambda piece: (-int(pieces.voxels[piece]), piece))[:MOST_NAMED]
    named = "; ".join(pieces.said(piece) for piece in largest)
    more = f" and {len(which) - len(largest)} smaller ones" if len(which) > len(largest) else ""
    return [
        f"{len(which)} small pieces lie up to {origin.image.reach:.3g} mm beside their voxels, because cells there are "
        f"larger than they: {named}{more}; a smaller mesh.size puts them in place"
    ]


def _off(what: str, wanted: float, off: float) -> str:
    """Return the sentence on a volume."""
    percent = 100 * off / wanted if wanted else 0.0
    sizes = f"{wanted + off:.4g} mm^3 in the mesh and {wanted:.4g} mm^3 in the segmentation"
    return f"{what} has {sizes} ({percent:+.1f} %)"


def _lost_names(mesh: Tetrahedra, origin: Origin) -> list[str]:
    """Return a sentence for each contact of names that the mesh lost or made."""
    found = {_ordered(*s.name.split("|")) for s in mesh.surfaces if s.kind != "named"}
    lost, made = sorted(origin.contacts - found), sorted(found - origin.contacts)
    return [
        *(f"{one} and {two} touch in the segmentation, but not in the mesh" for one, two in lost),
        *(f"{one} and {two} touch in the mesh, but not in the segmentation" for one, two in made),
    ]


def _ordered(one: str, two: str) -> tuple[str, str]:
    """Return a pair that does not depend on the order of its names."""
    return (one, two) if one < two else (two, one)


def _region(mesh: Tetrahedra, index: int, measures: Measures, bodies: Census, origin: Origin) -> dict[str, object]:
    """Return the entry of a region."""
    name, own = mesh.regions[index], mesh.region == index
    center = np.average(mesh.points[mesh.cells].mean(axis=1), axis=0, weights=measures.volume)
    edges = np.percentile(measures.edges[own], (5, 50, 95))
    achieved, wanted = float(measures.volume[own].sum()), origin.volumes.get(name)
    area = float(bodies.area[bodies.region == index].sum())
    entry: dict[str, object] = {
        "cells": int(own.sum()),
        "voxels": origin.voxels.get(name),
        "volume_segmented_mm3": wanted,
        "volume_mesh_mm3": achieved,
        "volume_error_percent": 100.0 * (achieved / wanted - 1.0) if wanted else None,
        "area_mm2": area,
        "volume_per_area_mm": achieved / area,
        "pieces": int((bodies.region == index).sum()),
        "protected": name in origin.protected,
        "side": side_of(mesh, index, measures.volume, center),
        **_quality(measures, own),
        "edge_p5_mm": float(edges[0]),
        "edge_p50_mm": float(edges[1]),
        "edge_p95_mm": float(edges[2]),
    }
    if origin.image is not None:
        entry["pieces_segmented"] = len(origin.image.pieces.of(name))
    return entry


def _quality(measures: Measures, own: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> dict[str, object]:
    """Return angles [degrees] and radius ratios of some cells."""
    smallest, ratio = measures.smallest[own], measures.ratio[own]
    low = np.percentile(smallest, (0.1, 1))
    return {
        "dihedral_min": float(smallest.min()),
        "dihedral_p0.1": float(low[0]),
        "dihedral_p1": float(low[1]),
        "dihedral_max": float(measures.largest[own].max()),
        **{f"below_{limit}_degrees": int((smallest < limit).sum()) for limit in (5, 10, 15)},
        "radius_ratio_min": float(ratio.min()),
        "radius_ratio_mean": float(ratio.mean()),
    }


def _pieces(mesh: Tetrahedra, measures: Measures, bodies: Census, origin: Origin) -> list[dict[str, object]]:
    """Return an entry for each piece, in the order of the image."""
    if origin.image is None:
        return []
    pieces = origin.image.pieces
    edges = by_group(bodies.body, measures.edges.mean(axis=1), len(bodies.region), (0.05, 0.5, 0.95))
    cells = np.bincount(bodies.body, minlength=len(bodies.region))
    found = []
    for b in np.argsort(bodies.piece, kind="stable").tolist():
        piece = int(bodies.piece[b])
        wanted = float(pieces.volumes[piece])
        found.append(
            {
                "region": mesh.regions[bodies.region[b]],
                "at_mm": [round(float(x), 3) for x in pieces.places[piece]],
                "voxels": int(pieces.voxels[piece]),
                "volume_segmented_mm3": wanted,
                "volume_mesh_mm3": float(bodies.volume[b]),
                "volume_error_percent": 100.0 * (float(bodies.volume[b]) / wanted - 1.0),
                "area_mm2": float(bodies.area[b]),
                "cells": int(cells[b]),
                **{f"edge_p{share}_mm": float(edges[b, i]) for i, share in enumerate((5, 50, 95))},
            }
        )
    return found


def _piece_contacts(bodies: Census, origin: Origin) -> dict[str, object]:
    """Return how many pairs of pieces touch in image and mesh; the two sets are equal, or there is no certificate."""
    if origin.image is None:
        return {}
    wanted = wanted_contacts(origin.image)
    return {"segmentation": len(wanted), "mesh": len(bodies.contacts), "equal": wanted == bodies.contacts}


def _distance(mesh: Tetrahedra, origin: Origin) -> dict[str, float]:
    """Return how far the surfaces are from the faces of voxels."""
    if origin.image is None:
        return {}
    away = closeness.distances(mesh, origin.image.pieces.ids, origin.image.affine)
    return closeness.words(away, abs(float(np.linalg.det(origin.image.affine[:3, :3]))) ** (1 / 3))


def _surfaces(mesh: Tetrahedra) -> list[dict[str, object]]:
    """Return name, kind, number of facets and area of each surface."""
    area = np.bincount(mesh.facet_surface, areas(mesh.points, mesh.facets), len(mesh.surfaces))
    count = np.bincount(mesh.facet_surface, minlength=len(mesh.surfaces))
    return [
        {"name": s.name, "kind": s.kind, "facets": int(count[i]), "area_mm2": float(area[i])}
        for i, s in enumerate(mesh.surfaces)
    ]


def side_of(mesh: Tetrahedra, index: int, cell_volumes: Floats, body: Floats) -> str:
    """Say where a region lies: patient's left or right, and where within the meshed body.

    Args:
        mesh: The mesh.
        index: Of the region.
        cell_volumes: Shape (m,).
        body: Center of all cells [mm], shape (3,).
    """
    own = mesh.region == index
    center = np.average(mesh.points[mesh.cells[own]].mean(axis=1), axis=0, weights=cell_volumes[own])
    words = (("left", "right"), ("back", "front"), ("bottom", "top"))
    extent = np.ptp(mesh.points, axis=0)
    inside = [words[i][int(center[i] > body[i])] for i in range(3) if abs(center[i] - body[i]) > 0.02 * extent[i]]
    place = ", ".join(inside) if inside else "at the center"
    side = "left" if center[0] < 0 else "right"
    return (
        f"{place} of the meshed body (patient's directions); center at x = {center[0]:.1f}, y = {center[1]:.1f}, "
        f"z = {center[2]:.1f} mm in RAS, patient's {side} of x = 0"
    )


def write(path: Path, content: Json) -> None:
    """Write the certificate as JSON."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, object]:
    """Read a certificate; empty when there is none."""
    if not path.is_file():
        return {}
    content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return content
