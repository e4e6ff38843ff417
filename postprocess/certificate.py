"""The certificate of the mesh, as the report prints it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from turgor.postprocess.scales import counted, number

type Entry = Mapping[str, JsonValue]
type Columns = Sequence[tuple[str, str, float]]

_CONTENT: Columns = (
    ("voxels", "voxels", 1.0),
    ("volume_segmented_mm3", "segmented [mL]", 1e-3),
    ("volume_mesh_mm3", "meshed [mL]", 1e-3),
    ("volume_error_percent", "difference [%]", 1.0),
    ("area_mm2", "area [cm²]", 1e-2),
    ("pieces_segmented", "pieces segmented", 1.0),
    ("pieces", "meshed", 1.0),
)
_QUALITY: Columns = (
    ("cells", "cells", 1.0),
    ("edge_p5_mm", "edges, 5 % [mm]", 1.0),
    ("edge_p50_mm", "median", 1.0),
    ("edge_p95_mm", "95 %", 1.0),
    ("dihedral_min", "smallest angle [°]", 1.0),
    ("dihedral_p0.1", "0.1 %", 1.0),
    ("dihedral_p1", "1 %", 1.0),
    ("dihedral_max", "largest [°]", 1.0),
    ("below_10_degrees", "cells below 10°", 1.0),
    ("radius_ratio_mean", "mean quality 3r/R", 1.0),
    ("radius_ratio_min", "worst", 1.0),
)
_PIECES: Columns = (
    ("at_mm", "place, RAS [mm]", 1.0),
    ("voxels", "voxels", 1.0),
    ("volume_segmented_mm3", "segmented [mm³]", 1.0),
    ("volume_mesh_mm3", "meshed [mm³]", 1.0),
    ("volume_error_percent", "difference [%]", 1.0),
    ("cells", "cells", 1.0),
)
_FACTS = {"how": "made with", "made": "made on"}
MOST_PIECES = 20


@dataclass(frozen=True)
class Table:
    """One table of a certificate.

    Attributes:
        title: What it shows.
        header: Of its columns; the first holds names.
        rows: Their cells.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Certificate:
    """What the report prints of a mesh certificate.

    Attributes:
        tables: By region: content and quality; then the pieces of regions that have several.
        facts: Name and value of single entries.
        sentences: Contacts, distances, repairs and warnings.
    """

    tables: tuple[Table, ...]
    facts: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]


def certificate_of(content: Entry) -> Certificate | None:
    """Return the certificate ready to print; None for a mesh without one."""
    if not content:
        return None
    regions = content.get("regions")
    by_region = [(k, v) for k, v in regions.items() if isinstance(v, dict)] if isinstance(regions, dict) else []
    tables = [
        _table("What of the segmentation is in the mesh", "region", by_region, _CONTENT),
        _table("How good its cells are", "region", by_region, _QUALITY),
        _pieces(content),
    ]
    facts = [(label, _cell(content[key], 1.0)) for key, label in _FACTS.items() if key in content]
    said = [str(text) for key in ("repairs", "warnings") for text in _list(content.get(key))]
    sentences = (*_contacts(content), *_distances(content), *said)
    return Certificate(tuple(table for table in tables if table.rows), tuple(facts), sentences)


def _table(title: str, first: str, entries: Sequence[tuple[str, Entry]], wanted: Columns) -> Table:
    """Return the columns of which some entry has a value."""
    columns = [column for column in wanted if any(entry.get(column[0]) is not None for _, entry in entries)]
    rows = [(name, *(_cell(entry.get(key), factor) for key, _, factor in columns)) for name, entry in entries]
    return Table(title, (first, *(head for _, head, _ in columns)), tuple(rows) if columns else ())


def _pieces(content: Entry) -> Table:
    """Return the pieces of regions that have several, the smallest first."""
    entries = [entry for entry in _list(content.get("region_pieces")) if isinstance(entry, dict)]
    count = Counter(str(entry.get("region")) for entry in entries)
    several = [(str(e.get("region")), e) for e in entries if count[str(e.get("region"))] > 1]
    several.sort(key=lambda named: _number(named[1].get("voxels")))
    title = "Pieces of regions that have several"
    if len(several) > MOST_PIECES:
        title += f", the {MOST_PIECES} smallest of {len(several)}"
    return _table(title, "piece of", several[:MOST_PIECES], _PIECES)


def _contacts(content: Entry) -> list[str]:
    """Say which contacts there are, in segmentation and mesh."""
    named, pieces = content.get("contacts"), content.get("piece_contacts")
    found = []
    if isinstance(named, dict) and (touching := _list(named.get("mesh"))):
        same = touching == _list(named.get("segmentation"))
        as_segmented = ", the same as in the segmentation" if same else ""
        found.append(f"In contact{as_segmented}: {', '.join(str(pair) for pair in touching)}.")
    if isinstance(pieces, dict) and "mesh" in pieces:
        wanted, made = (_cell(pieces.get(key), 1.0) for key in ("segmentation", "mesh"))
        equal = "the same ones" if pieces.get("equal") is True else "not the same ones"
        found.append(f"Contacts between single pieces: {wanted} segmented, {made} meshed, {equal}.")
    return found


def _distances(content: Entry) -> list[str]:
    """Say how far the surfaces are from the faces between voxels."""
    away = content.get("distance_to_voxels")
    if not isinstance(away, dict) or "p99_mm" not in away:
        return []
    shares = (("p50", "half of the surface"), ("p99", "99 % of it"), ("max", "all of it"))
    parts = [
        f"{words} within {_cell(away.get(f'{key}_mm'), 1.0)} mm ({_cell(away.get(f'{key}_voxels'), 1.0)} voxels)"
        for key, words in shares
    ]
    return [f"Distance of the mesh's surfaces to the faces of voxels: {', '.join(parts)}."]


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _number(value: JsonValue) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _cell(value: JsonValue, factor: float) -> str:
    if isinstance(value, list):
        return ", ".join(_cell(part, factor) for part in value)
    if isinstance(value, int) and not isinstance(value, bool) and factor == 1.0:
        return counted(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "0" if abs(value * factor) < 5e-5 else number(value * factor)
    return str(value) if isinstance(value, str) else "–"
