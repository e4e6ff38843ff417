"""A certificate as tables to print: regions, pieces, contacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Json = Mapping[str, object]
Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]

MOST_ROWS = 6


def summary(content: Json) -> Sequence[Sequence[str]]:
    """Return a table of regions: name, cells, volume [mL], error [%], smallest dihedral angle [degrees]."""
    return [
        (
            str(name),
            f"{_number(entry, 'cells'):,.0f}",
            f"{_number(entry, 'volume_mesh_mm3') / 1000:.4g} mL",
            _percent(entry),
            f"{_number(entry, 'dihedral_min'):.1f}°",
        )
        for name, entry in _entries(content.get("regions")).items()
    ]


def tables(content: Json) -> list[Table]:
    """Return the tables of a certificate: title, header, rows; many pieces and contacts are summarized."""
    return [table for table in (_regions(content), _pieces(content), _contacts(content)) if table[2]]


def lines(content: Json) -> list[str]:
    """Return the tables as lines of text with aligned columns."""
    found = []
    for title, header, rows in tables(content):
        width = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
        found.append(title)
        for row in (header, *rows):
            cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, width, strict=True))]
            found.append(("  " + "  ".join(cells)).rstrip())
    return found


def _regions(content: Json) -> Table:
    """Return volumes and areas by region."""
    header = ("region", "cells", "segmented [mL]", "meshed [mL]", "error", "area [cm²]", "pieces", "angle")
    rows: list[tuple[str, ...]] = []
    for name, entry in _entries(content.get("regions")).items():
        wanted = entry.get("volume_segmented_mm3")
        rows.append(
            (
                name,
                f"{_number(entry, 'cells'):,.0f}",
                f"{wanted / 1000:.4g}" if isinstance(wanted, float) else "",
                f"{_number(entry, 'volume_mesh_mm3') / 1000:.4g}",
                _percent(entry),
                f"{_number(entry, 'area_mm2') / 100:.4g}",
                f"{_number(entry, 'pieces'):.0f}",
                f"{_number(entry, 'dihedral_min'):.1f}°",
            )
        )
    return "volumes and areas", header, rows


def _pieces(content: Json) -> Table:
    """Return the pieces of regions that have several, the ones whose volume is off most first."""
    listed = content.get("region_pieces")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    count: dict[str, int] = {}
    for entry in entries:
        count[entry["region"]] = count.get(entry["region"], 0) + 1
    several = [entry for entry in entries if count[entry["region"]] > 1]
    several.sort(key=lambda entry: -abs(entry["volume_error_percent"]))
    rows: list[tuple[str, ...]] = [
        (
            str(entry["region"]),
            ", ".join(f"{x:.1f}" for x in entry["at_mm"]),
            f"{entry['voxels']:,}",
            f"{entry['volume_segmented_mm3']:.4g}",
            f"{entry['volume_mesh_mm3']:.4g}",
            _percent(entry),
        )
        for entry in several[:MOST_ROWS]
    ]
    title = "pieces" if len(several) <= MOST_ROWS else f"pieces, the {MOST_ROWS} of {len(several)} that are off most"
    return title, ("piece of", "at [mm]", "voxels", "segmented [mm³]", "meshed [mm³]", "error"), rows


def _contacts(content: Json) -> Table:
    """Return the area of each surface, the largest first."""
    listed = content.get("surfaces")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    entries.sort(key=lambda entry: -entry["area_mm2"])
    rows: list[tuple[str, ...]] = [
        (str(entry["name"]), f"{entry['area_mm2'] / 100:.4g}") for entry in entries[: 2 * MOST_ROWS]
    ]
    between = content.get("piece_contacts")
    pairs = between.get("mesh") if isinstance(between, dict) else None
    title = "contacts" if pairs is None else f"contacts, all {pairs} between pieces as segmented"
    if len(entries) > len(rows):
        title += f"; the {len(rows)} largest of {len(entries)} surfaces"
    return title, ("surface", "area [cm²]"), rows


def _entries(regions: object) -> dict[str, Mapping[str, object]]:
    """Return the entries by region."""
    return {str(k): v for k, v in regions.items() if isinstance(v, dict)} if isinstance(regions, Mapping) else {}


def _number(entry: Mapping[str, object], key: str) -> float:
    """Return a number of an entry, 0 where there is none."""
    value = entry.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def _percent(entry: Mapping[str, object]) -> str:
    """Return the error of a volume; nothing where nothing is known."""
    value = entry.get("volume_error_percent")
    return f"{value:+.2f} %" if isinstance(value, float) else ""
