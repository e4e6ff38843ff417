"""How numbers are shown to people: units that fit their size, and text without needless digits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

PASCAL_PER_MMHG = 133.322387415


@dataclass(frozen=True)
class Scale:
    """A display unit: shown number = factor x internal number.

    Attributes:
        unit: As printed, for example "µmol/L".
        factor: Display units in one internal unit.
    """

    unit: str
    factor: float

    def __call__(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return values in the display unit."""
        return np.asarray(np.asarray(values, dtype=np.float64) * self.factor)


MMHG = Scale("mmHg", 1.0 / PASCAL_PER_MMHG)
FROM_MMHG = Scale("Pa", PASCAL_PER_MMHG)
"""From shown mmHg back to Pa, for a second axis."""
_TIME = (Scale("s", 1.0), Scale("min", 1 / 60), Scale("h", 1 / 3600), Scale("d", 1 / 86400))
_LADDERS: dict[str, tuple[Scale, ...]] = {
    "mol/m^3": (Scale("mmol/L", 1.0), Scale("µmol/L", 1e3), Scale("nmol/L", 1e6), Scale("pmol/L", 1e9)),
    "mm/s": (Scale("mm/s", 1.0), Scale("µm/s", 1e3), Scale("nm/s", 1e6)),
    "mm^3/s": (Scale("mL/min", 0.06), Scale("µL/min", 60.0), Scale("nL/min", 6e4), Scale("pL/min", 6e7)),
    "nmol": (Scale("mmol", 1e-6), Scale("µmol", 1e-3), Scale("nmol", 1.0), Scale("pmol", 1e3), Scale("fmol", 1e6)),
    "nmol/s": (Scale("µmol/s", 1e-3), Scale("nmol/s", 1.0), Scale("pmol/s", 1e3), Scale("fmol/s", 1e6)),
    "mm": (Scale("mm", 1.0), Scale("µm", 1e3)),
    "Pa": (MMHG,),
}
_LADDERS["nmol/mm^3"] = _LADDERS["mol/m^3"]


def scale_for(unit: str, largest: float) -> Scale:
    """Return the display unit in which the largest magnitude, given in the internal unit, is at least 1."""
    ladder = _LADDERS.get(unit)
    if ladder is None:
        return Scale(pretty_unit(unit), 1.0)
    size = abs(largest)
    if not np.isfinite(size) or size == 0:
        return ladder[min(1, len(ladder) - 1)]
    return next((step for step in ladder if size * step.factor >= 1.0), ladder[-1])


def time_scale(end: float) -> Scale:
    """Return the unit in which a time axis up to `end` [s] is read most easily."""
    limits = (180.0, 3 * 3600.0, 96 * 3600.0)
    return next((scale for scale, limit in zip(_TIME, limits, strict=False) if end <= limit), _TIME[-1])


def clock(seconds: float) -> str:
    """Return a time as people say it: "90 s", "4 h", "2.5 d"."""
    limits = (60.0 if seconds % 60 == 0 else 120.0, 3600.0, 96 * 3600.0)
    scale = next((s for s, limit in zip(_TIME, limits, strict=False) if abs(seconds) < limit), _TIME[-1])
    return f"{number(seconds * scale.factor)} {scale.unit}"


def number(value: float, digits: int = 3) -> str:
    """Return a number with few digits: plain from 0.001 to 99999, else as 1.2 × 10⁻⁵."""
    if not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        decimals = max(digits - 1 - int(np.floor(np.log10(abs(value)))), 0)
        text = f"{value:.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return text.replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa} × 10{superscript(int(exponent))}".replace("-", "−")


def superscript(power: int) -> str:
    """Return an integer in raised digits."""
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def pretty_unit(unit: str) -> str:
    """Return a unit with raised digits and dots: "cm^2/(mmHg*s)" -> "cm²/(mmHg·s)"."""
    return pretty_powers(unit).replace("*", "·")


def pretty_powers(text: str) -> str:
    """Return a text with its powers in raised digits: "50 mg/m^2" -> "50 mg/m²"."""
    return re.sub(r"\^(-?\d+)", lambda match: superscript(int(match[1])), text)


def counted(amount: int) -> str:
    """Return an integer with thin spaces between thousands."""
    return f"{amount:,}".replace(",", "\u202f")


def and_list(words: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def robust_range(values: NDArray[np.float64], *, low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """Return the range of a color scale: percentiles that a few odd nodes cannot move, never empty.

    Values that are positive throughout, and come close to zero, get a scale that begins at zero.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    bottom, top = (float(x) for x in np.percentile(finite, [low, high]))
    largest = float(np.abs(finite).max())
    if top - bottom < 1e-3 * largest:
        bottom, top = float(finite.min()), float(finite.max())
    if 0 <= float(finite.min()) and bottom < 0.3 * top:
        bottom = 0.0
    if top - bottom <= 1e-9 * max(largest, 1e-300):
        margin = 0.05 * largest or 1.0
        return bottom - margin, top + margin
    return bottom, top
