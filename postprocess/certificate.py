"""The certificate of the mesh, as the report prints it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from turgor.postprocess.scales import counted, number

_COLUMNS = (
    ("volume_segmented_mm3", "segmented [mL]", 1e-3),
    ("volume_mesh_mm3", "meshed [mL]", 1e-3),
    ("volume_error_percent", "difference [%]", 1.0),
    ("cells", "cells", 1.0),
    ("edge_p50_mm", "median edge [mm]", 1.0),
    ("dihedral_min", "smallest angle [°]", 1.0),
    ("dihedral_p1", "1st percentile [°]", 1.0),
    ("below_10_degrees", "cells below 10°", 1.0),
    ("radius_ratio_mean", "mean quality 3r/R", 1.0),
    ("radius_ratio_min", "worst", 1.0),
)
_FACTS = {"pieces": "connected pieces", "how": "made with", "made": "made on"}


@dataclass(frozen=True)
class Certificate:
    """What the report prints of a mesh certificate.

    Attributes:
        header: Of the table by region; empty if there is none.
        rows: Cells of that table.
        facts: Name and value of single entries.
        sentences: Repairs and warnings, in the mesher's words.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    facts: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]


def certificate_of(content: Mapping[str, JsonValue]) -> Certificate | None:
    """Return the certificate ready to print; None for a mesh without one."""
    if not content:
        return None
    regions = content.get("regions")
    by_region = {k: v for k, v in regions.items() if isinstance(v, dict)} if isinstance(regions, dict) else {}
    columns = [column for column in _COLUMNS if any(column[0] in values for values in by_region.values())]
    rows = [
        (name, *(_cell(values.get(key), factor) for key, _, factor in columns)) for name, values in by_region.items()
    ]
    facts = [(label, _cell(content[key], 1.0)) for key, label in _FACTS.items() if key in content]
    sentences = [str(text) for key in ("repairs", "warnings") for text in _list(content.get(key))]
    header = ("region", *(title for _, title, _ in columns)) if rows else ()
    return Certificate(header, tuple(rows), tuple(facts), tuple(sentences))


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _cell(value: JsonValue, factor: float) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return counted(value)
    if isinstance(value, float):
        return "0" if abs(value * factor) < 5e-5 else number(value * factor)
    return str(value) if isinstance(value, str) else "–"
