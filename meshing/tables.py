"""Names of label values in common use: BraTS, TotalSegmentator, FreeSurfer; sources in `label_tables.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from functools import cache
from importlib.resources import files

from turgor.materials.errors import SegmentationError


@cache
def _tables() -> dict[str, dict[int, tuple[str, ...]]]:
    """Return each table as label value -> its names."""
    text = files("turgor.meshing").joinpath("label_tables.toml").read_text(encoding="utf-8")
    return {
        table: {int(value): tuple(names) for value, names in content["names"].items()}
        for table, content in tomllib.loads(text).items()
    }


def plain(name: str) -> str:
    """Return a name as it is matched: without case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "", name).lower()


def table(name: str, present: Collection[int]) -> dict[int, tuple[str, ...]]:
    """Return the names of label values by a table; "brats" stands for the year's that the values tell.

    Args:
        name: The table.
        present: Label values of the image.

    Raises:
        SegmentationError: The image holds 3 and 4, which different years of BraTS call differently.
    """
    if name != "brats":
        return _tables()[name]
    if 3 in present and 4 in present:
        raise SegmentationError(
            "mesh.image.table: the image holds label 3 and 4, which the years of BraTS call differently; say "
            '"brats2024" (3 enhancing, 4 resection cavity) or "brats2013" (3 non-enhancing, 4 enhancing tumor)'
        )
    return _tables()["brats2017" if 4 in present else "brats2023"]


def fitting(present: Collection[int]) -> tuple[str, ...]:
    """Return the tables that an image seems to use: all its values are in them, and not by chance."""
    values = set(present) - {0}
    counted = values == set(range(1, len(values) + 1))
    return tuple(
        name
        for name, names in _tables().items()
        if values <= set(names) and len(values) >= max(3, len(names) // 5) and not (counted and len(names) < 10)
    )
