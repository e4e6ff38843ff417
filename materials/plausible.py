"""Whether a map of a parameter can be right: its mean over a region against what was measured or is expected.

A relative map is free of units. An absolute one whose unit is wrong is off by a factor such as 60 (1/min or 1/s), which
no formula can see: the library's ranges can.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from turgor.materials.library import Entry, library
from turgor.materials.quantity import Quantity

NOTABLE = 3.0
"""A mean this many times beyond what is known is worth a sentence, and beyond what is expected refused."""

ABSURD = 30.0
"""A mean outside the range of a tissue and this many times its value is refused."""

FACTORS = (
    (60.0, "per minute or per second", "s"),
    (3600.0, "per hour or per second", "s"),
    (133.3, "mmHg or Pa", "Pa"),
    (1000.0, "kPa or Pa", "Pa"),
    (10.0, "cm or mm", "mm"),
    (100.0, "cm^2 or mm^2", "mm"),
    (1000.0, "m or mm", "mm"),
    (1e6, "m^2 or mm^2", "mm"),
    (100.0, "% or a fraction", ""),
)
"""What a wrong unit does: factor, the two units, and the internal unit that it can happen in."""

NEAR = 1.5
"""A factor this close to that of two units is worth naming them."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What mean over a region is expected of a parameter, in its internal unit.

    Attributes:
        value: The value at hand; None where only a range is known.
        low: Lower end of the range, larger than zero.
        high: Upper end.
        words: Whose values these are.
        limit: A mean outside the range and this many times away from the value is refused.
    """

    value: float | None
    low: float
    high: float
    words: str
    limit: float

    def doubtful(self, mean: float) -> bool:
        """Whether a mean is beyond the range by more than 3 times."""
        return mean > 0 and max(mean / self.high, self.low / mean) > NOTABLE

    def absurd(self, mean: float) -> bool:
        """Whether a mean is to be refused."""
        return self.doubtful(mean) and self._times(mean) > self.limit

    def _times(self, mean: float) -> float:
        """Return how many times away a mean is from the value, or from the end of the range."""
        if self.value is not None:
            return max(mean / self.value, self.value / mean)
        return max(mean / self.high, self.low / mean)

    def sentence(self, mean: float, unit: str) -> str:
        """Say a mean, how far off it is, and which units would do that."""
        times, large = self._times(mean), mean > self.high
        end = self.value if self.value is not None else self.high if large else self.low
        which = "one" if self.value is not None else "largest" if large else "smallest"
        off = f"{times:.3g} times" if large else f"1/{times:.3g} of"
        units = [words for factor, words, of in FACTORS if (of in unit if of else not unit) and _near(times, factor)]
        asked = f"is its unit right ({', or '.join(units)})?" if units else "is its unit right?"
        return (
            f"{mean:.3g} {unit}".rstrip()
            + f", {off} the {which} {self.words} ({f'{end:.3g} {unit}'.rstrip()}); {asked}"
        )


def _near(one: float, other: float) -> bool:
    return 1 / NEAR <= one / other <= NEAR


def expected(mean: Quantity) -> Usual | None:
    """Return the range round a mean that the case expects; None where it is not positive."""
    return Usual(mean.value, mean.value, mean.value, "that the case expects", NOTABLE) if mean.value > 0 else None


def usual(parameter: str, entry: Entry | None) -> Usual | None:
    """Return the range of a parameter in the library.

    Args:
        parameter: Its name.
        entry: The library's value for the tissue at hand, if any; else those of all tissues and agents count.

    Returns:
        None where the library has no positive value.
    """
    own = _positive([entry]) if entry is not None else []
    if own and entry is not None and isinstance(entry.quantity, Quantity):
        value = entry.quantity.value if entry.quantity.value > 0 else None
        return Usual(value, min(own), max(own), "of this tissue in the library", ABSURD)
    known = library()
    agents = [values for agent in known.agents.values() for values in agent.values.values()]
    every = [*(tissue.values for tissue in known.tissues.values()), *agents]
    numbers = _positive(values[parameter] for values in every if parameter in values)
    return Usual(None, min(numbers), max(numbers), "in the library", float("inf")) if numbers else None


def _positive(entries: Iterable[Entry]) -> list[float]:
    """Return the positive numbers among values and ends of ranges."""
    quantities = [quantity for entry in entries for quantity in (entry.quantity, entry.low, entry.high)]
    return [one.value for one in quantities if isinstance(one, Quantity) and one.value > 0]
