"""What every physics can do: advance, give its fields, state its balance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turgor.fem.coefficients import Coefficients
from turgor.fem.domain import Domain
from turgor.fem.fields import Field
from turgor.fem.spec import PhysicsSpec

type Array = NDArray[np.float64]

WHOLE = "all"
"""Name of the row that sums over all regions."""


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """A line of the balance, as rates over the step: entered - left + made - lost - stored = residual.

    Attributes:
        region: Region, or "all".
        surface: Surface that `entered` and `left` pass; empty for the sum over a region.
        entered: Through surfaces into the region.
        left: Through surfaces out of the region.
        made: By sources inside.
        lost: By sinks inside.
        stored: Rate of change of what is inside.
    """

    region: str
    surface: str = ""
    entered: float = 0.0
    left: float = 0.0
    made: float = 0.0
    lost: float = 0.0
    stored: float = 0.0

    @property
    def residual(self) -> float:
        """What does not add up."""
        return self.entered - self.left + self.made - self.lost - self.stored

    @property
    def scale(self) -> float:
        """The largest term of the row."""
        return max(map(abs, (self.entered, self.left, self.made, self.lost, self.stored)))


@dataclass(frozen=True, slots=True)
class Nodal:
    """A continuous piecewise linear function, as part of a state.

    Attributes:
        values: At the nodes of `Domain.space` that this rank owns, shape (n,).
    """

    values: Array


@dataclass(frozen=True, slots=True)
class OwnTable:
    """A table of a physics' own, one or more rows each time fields are written.

    Attributes:
        columns: After the time.
        rows: What the physics has to say now; collective. An empty text leaves a cell empty.
    """

    columns: tuple[str, ...]
    rows: Callable[[], Iterable[Sequence[float | str]]]


class Problem(ABC):
    """The discrete counterpart of a `PhysicsSpec`, complete after construction.

    Attributes:
        spec: What the case says.
        fields: Name -> field, for output and measures.
        balance_unit: Unit of the balance's rates.
    """

    spec: PhysicsSpec
    fields: Mapping[str, Field]
    balance_unit: str

    @abstractmethod
    def __init__(
        self, spec: PhysicsSpec, domain: Domain, coefficients: Coefficients, provided: Mapping[str, Any], case: Any
    ) -> None:
        """Discretize; collective. `provided` holds what other physics give under the names in `spec.takes`."""

    @abstractmethod
    def start(self) -> None:
        """Set the state at t = 0; collective."""

    @abstractmethod
    def advance(self, begin: float, end: float) -> float:
        """Step from `begin` to `end` [s]; collective.

        Returns:
            Estimate of the relative local error in time; 0 where time does not enter.
        """

    @abstractmethod
    def accept(self) -> None:
        """Keep the step that `advance` made; without it the next `advance` starts from the old state."""

    def first_step(self, tolerance: float) -> float:
        """Return the longest step [s] that may be made without knowing an earlier one; collective."""
        return float("inf")

    def restart(self) -> None:  # noqa: B027  (most physics have nothing to forget)
        """Forget what was learned from earlier steps, because a value jumps now."""

    @abstractmethod
    def balance(self) -> Iterable[BalanceRow]:
        """State the balance of the last step by region and by surface; collective."""

    @abstractmethod
    def flux_through(self, surface: str) -> float:
        """Return the rate through a surface, positive from its first region to its second; collective."""

    def state(self) -> Mapping[str, Nodal | Array] | None:
        """Return what the next step needs of the earlier ones, by name: functions, and small arrays.

        None says that this physics cannot be taken up again; a run that was stopped then starts anew.
        """
        return None

    def resume(self, time: float, state: Mapping[str, Array]) -> None:
        """Set the state at a time [s], instead of `start`; collective.

        Args:
            time: When the state was taken.
            state: What `state` gave, perhaps on another number of ranks; functions as their values at owned nodes.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no state")

    def events(self) -> Iterable[float]:
        """Return times [s] at which a value jumps; a step must land on them."""
        return ()

    def bends(self) -> Iterable[float]:
        """Return times [s] at which a value begins to change at another rate; a step must land on them, too."""
        return ()

    def provides(self) -> Mapping[str, Any]:
        """Return what other physics may take, by name."""
        return {}

    def statistics(self) -> Mapping[str, Any]:
        """Return solver figures for the run's record."""
        return {}

    def verification(self) -> Mapping[str, Any]:
        """Return what tells whether the numbers can be trusted."""
        return {}

    def own_tables(self) -> Mapping[str, OwnTable]:
        """Return tables of its own, by the name of the file in the run folder; always the same ones."""
        return {}

    def cell_fields(self) -> Mapping[str, tuple[Array, str]]:
        """Return what is written with the fields, so that a balance can be computed again from the file.

        Returns:
            Name -> a number for each local cell, and its unit.
        """
        return {}

    def findings(self) -> Mapping[str, Any]:
        """Return what the run's record says of the last state, beside measures and balance; collective."""
        return {}

    def warnings(self) -> Iterable[str]:
        """Return sentences that the reader of the results must know."""
        return ()

    def surface_conditions(self) -> Mapping[str, str]:
        """Return the condition on each outer surface, in words."""
        return {}
