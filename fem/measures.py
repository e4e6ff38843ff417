"""The reported numbers of `[output.measures]`: over regions, through surfaces, at points, and their history.

Integrals of piecewise linear and piecewise constant fields are exact. No number depends on the partition: points are
looked up by the cell numbers of the mesh file, sums and extremes are taken over all ranks.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from turgor.fem.domain import Domain
from turgor.fem.fields import Kind
from turgor.fem.places import Place, locate
from turgor.fem.spec import MeasureSpec
from turgor.materials.errors import CaseError, listed, nearest
from turgor.materials.quantity import Quantity

type Array = NDArray[np.float64]
type Flux = Callable[[str], float]

COMPONENTS = {"x": 0, "y": 1, "z": 2}
AMOUNT = "concentration"
TOTAL = "total"
CONCENTRATION_UNIT = "mol/m^3"


class Field(Protocol):
    """What a measure needs of a field; `turgor.fem.fields.Field` is one."""

    @property
    def kind(self) -> Kind:
        """How it varies."""

    @property
    def values(self) -> Array:
        """Local values, those of ghosts current."""

    @property
    def unit(self) -> str:
        """Unit of the values."""

    @property
    def dofmap(self) -> NDArray[np.int32]:
        """Index into the values of each vertex of each local cell (P1), or of the cell (DG0)."""


@dataclass(frozen=True)
class Scalar:
    """A scalar made of a field: itself, a component, or the magnitude of a vector.

    Attributes:
        field: Where it comes from.
        component: Of a vector; None for the magnitude, or for a scalar field.
        weight: A factor for each local cell, such as the accessible fluid per tissue volume.
    """

    field: Field
    component: int | None = None
    weight: Array | None = None

    def corners(self, cells: NDArray[np.int64]) -> Array:
        """Return the values in some local cells: at the 4 vertices, or the one value, shape (n, 4) or (n, 1)."""
        if self.field.kind != "DG0vector":
            values = np.asarray(self.field.values[self.field.dofmap[cells]])
            return values if self.weight is None else values * self.weight[cells, None]
        vectors = self.field.values.reshape(-1, 3)[cells]
        if self.component is None:
            return np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors[:, self.component, None]


@dataclass(frozen=True)
class Part:
    """The cells of a region that this rank owns.

    Attributes:
        cells: Local numbers.
        volumes: Of these cells [mm³].
        volume: Of the region, all ranks together [mm³].
    """

    comm: MPI.Comm
    cells: NDArray[np.int64]
    volumes: Array
    volume: float
    _weights: dict[int, tuple[object, Array]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, domain: Domain, region: str) -> Part:
        """Find a region, or "all". Collective."""
        inside = domain.within(None if region == "all" else [region])[: domain.owned]
        cells = np.flatnonzero(inside)
        volumes = domain.volumes[cells]
        return cls(domain.comm, cells, volumes, float(domain.comm.allreduce(float(volumes.sum()))))

    def integral(self, scalar: Scalar, weight: Array | None = None) -> float:
        """Return the integral, weighted by a number for each local cell if given. Collective."""
        if scalar.field.kind == "P1":
            local = self._at_nodes(scalar, scalar.weight if weight is None else weight) @ scalar.field.values
        else:
            volumes = self.volumes if weight is None else self.volumes * weight[self.cells]
            local = volumes @ scalar.corners(self.cells).mean(axis=1)
        return float(self.comm.allreduce(float(local)))

    def _at_nodes(self, scalar: Scalar, weight: Array | None) -> Array:
        """Return what each node counts in an integral: a quarter of the weighted volumes round it, made once."""
        key = id(weight)
        if key not in self._weights:
            volumes = self.volumes if weight is None else self.volumes * weight[self.cells]
            nodes = scalar.field.dofmap[self.cells].ravel()
            counts = np.bincount(nodes, np.repeat(volumes / 4, 4), minlength=len(scalar.field.values))
            self._weights[key] = (weight, counts)
        return self._weights[key][1]

    def mean(self, scalar: Scalar) -> float:
        """Return the average over the volume. Collective."""
        return self.integral(scalar) / self.volume

    def highest(self, scalar: Scalar) -> float:
        """Return the largest value. Collective."""
        return float(self.comm.allreduce(float(self._values(scalar).max(initial=-np.inf)), op=MPI.MAX))

    def lowest(self, scalar: Scalar) -> float:
        """Return the smallest value. Collective."""
        return float(self.comm.allreduce(float(self._values(scalar).min(initial=np.inf)), op=MPI.MIN))

    def _values(self, scalar: Scalar) -> Array:
        """Return all values that the scalar takes at corners or in cells, each node once where that suffices."""
        if scalar.field.kind == "P1" and scalar.weight is None:
            return scalar.field.values[self._at_nodes(scalar, None) > 0]
        return scalar.corners(self.cells)

    def volume_above(self, scalar: Scalar, threshold: float) -> float:
        """Return the volume where the scalar is larger than a threshold. Collective."""
        share = share_above(scalar.corners(self.cells), threshold)
        return float(self.comm.allreduce(float(self.volumes @ share)))


def share_above(corners: Array, threshold: float) -> Array:
    """Return which share of each tetrahedron has a linear function above a threshold.

    The share below, as a function of the threshold, is the distribution of a quadratic B-spline whose knots are the
    sorted corner values a <= b <= c <= d, here without differences that cancel.

    Args:
        corners: Values at the vertices, shape (n, 4), or the one value of each cell, shape (n, 1).
        threshold: The value to exceed.

    Returns:
        Shape (n,), from 0 to 1.

    Source: Curry and Schoenberg (1966).
    """
    if corners.shape[1] == 1:
        return (corners[:, 0] > threshold).astype(np.float64)
    a, b, c, d = np.sort(corners, axis=1).T
    s = np.full_like(a, threshold)
    with np.errstate(divide="ignore", invalid="ignore"):
        low = 1.0 - (s - a) / (b - a) * ((s - a) / (c - a)) * ((s - a) / (d - a))
        high = (d - s) / (d - a) * ((d - s) / (d - b)) * ((d - s) / (d - c))
        p, q, u, r = b - a, d - b, s - b, (s - b) / (c - b)
        first = (p * u + (c - b - p) * u * r / 2 - u * u * r / 3) / (c - a)
        second = u * r / 2 - u * u * r / (3 * q)
        middle = 1.0 - p / (c - a) * (p / (d - a)) - 3 / (d - a) * (first + second)
    return np.select([s >= d, s <= a, s <= b, s >= c], [0.0, 1.0, low, high], middle)


class Measures:
    """The measures of a case on a mesh: one number each, whenever asked."""

    def __init__(
        self,
        specs: Mapping[str, MeasureSpec],
        domain: Domain,
        fields: Mapping[str, Field],
        fluxes: Mapping[str, Flux] | None = None,
        accessible: Mapping[str, Array] | None = None,
    ) -> None:
        """Find what each measure speaks of. Collective.

        Args:
            specs: Key -> what the case says.
            domain: The mesh.
            fields: Name -> field, as the case writes it ("pressure", "concentration", "velocity").
            fluxes: What may stand before `through` ("velocity", "drug") -> rate through a surface, given by its name,
                from its first region to its second; collective.
            accessible: Name of a field that counts per volume of accessible fluid -> volume fraction of that fluid in
                each local cell; every "concentration" needs one, "concentration.total" counts per tissue.

        Raises:
            CaseError: All complaints at once.
        """
        bench = _Bench(domain, fields, fluxes or {}, accessible or {})
        self._probes: dict[str, _Probe] = {}
        complaints = []
        for key, spec in specs.items():
            try:
                self._probes[key] = bench.probe(f"output.measures.{key}", spec)
            except CaseError as error:
                complaints.append(str(error))
        if complaints:
            raise CaseError(listed(complaints))
        self._histories = {key: HISTORIES[spec.over]() for key, spec in specs.items() if spec.over}

    @property
    def units(self) -> dict[str, str]:
        """Key -> unit of the reported number, in the order of the case."""
        found = {}
        for key, probe in self._probes.items():
            history = self._histories.get(key)
            found[key] = history.unit(probe.unit) if history else probe.unit
        return found

    def at(self, time: float) -> dict[str, float]:
        """Evaluate all measures at a time [s]; histories go on from the time before. Collective.

        Call it once for the start and once for every accepted step.
        """
        found = {}
        for key, probe in self._probes.items():
            value = probe.value()
            history = self._histories.get(key)
            found[key] = history.add(time, value) if history else value
        return found

    def state(self) -> dict[str, Array]:
        """Return what the histories know so far: key -> numbers."""
        return {key: history.state() for key, history in self._histories.items()}

    def resume(self, state: Mapping[str, Array]) -> None:
        """Let the histories go on from what `state` gave."""
        for key, history in self._histories.items():
            history.resume(state[key])


class Area:
    """The area under the curve, by the trapezoidal rule over all steps."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._sum = 0.0

    def unit(self, unit: str) -> str:
        """Return the unit of the result."""
        return times(unit, "s")

    def add(self, time: float, value: float) -> float:
        """Go on to a time [s]; return the result so far."""
        if self._last is not None:
            self._sum += 0.5 * (time - self._last[0]) * (value + self._last[1])
        self._last = (time, value)
        return self._sum

    def state(self) -> Array:
        """Return the sum, and the time and value up to which it goes, if any."""
        return np.array([self._sum, *(self._last or ())])

    def resume(self, state: Array) -> None:
        """Go on from what `state` gave."""
        self._sum, *last = (float(number) for number in state)
        self._last = (last[0], last[1]) if last else None


class Peak:
    """The largest value so far."""

    def __init__(self) -> None:
        self.value = -np.inf
        self.time = 0.0

    def unit(self, unit: str) -> str:
        """Return the unit of the result."""
        return unit

    def add(self, time: float, value: float) -> float:
        """Go on to a time [s]; return the result so far."""
        if value > self.value:
            self.value, self.time = value, time
        return self.value

    def state(self) -> Array:
        """Return the value and its time."""
        return np.array([self.value, self.time])

    def resume(self, state: Array) -> None:
        """Go on from what `state` gave."""
        self.value, self.time = (float(number) for number in state)


class PeakTime(Peak):
    """The time [s] of the largest value so far."""

    def unit(self, unit: str) -> str:
        """Return the unit of the result."""
        return "s"

    def add(self, time: float, value: float) -> float:
        """Go on to a time [s]; return the result so far."""
        super().add(time, value)
        return self.time


HISTORIES: Mapping[str, Callable[[], Area | Peak]] = {"AUC": Area, "Cmax": Peak, "Tmax": PeakTime}


def times(unit: str, factor: str) -> str:
    """Return the product of two units, for headers: "mol/m^3" times "s" is "mol*s/m^3"."""
    if (unit, factor) == (CONCENTRATION_UNIT, "mm^3"):
        return "nmol"
    over, slash, under = unit.partition("/")
    if under == factor:
        return over
    return f"{over}*{factor}{slash}{under}" if unit else factor


@dataclass(frozen=True)
class _Probe:
    """A number that can be asked for, and its unit."""

    unit: str
    value: Callable[[], float]


@dataclass(frozen=True)
class _Bench:
    """What measures are made from."""

    domain: Domain
    fields: Mapping[str, Field]
    fluxes: Mapping[str, Flux]
    accessible: Mapping[str, Array]

    def probe(self, where: str, spec: MeasureSpec) -> _Probe:
        """Return the number that a spec asks for. Collective.

        Raises:
            CaseError: With the place in the case and what would be right.
        """
        if spec.through is not None:
            return self._through(where, spec.of, spec.through)
        name, scalar = self._scalar(where, spec.of)
        if spec.at is not None:
            return self._at(where, scalar, np.array([length.value for length in spec.at]))
        return self._within(where, spec, name, scalar)

    def _scalar(self, where: str, of: str) -> tuple[str, Scalar]:
        """Return the field behind a name such as "velocity.x", and the scalar made of it."""
        if of in self.fields:
            return of, Scalar(self.fields[of])
        name, _, end = of.rpartition(".")
        if name in self.fields and end in COMPONENTS and self.fields[name].kind == "DG0vector":
            return name, Scalar(self.fields[name], COMPONENTS[end])
        if end == TOTAL and name in self.accessible:
            return of, Scalar(self.fields[name], weight=self.accessible[name])
        if of in self.fluxes:
            raise CaseError(f'{where}.of: {of!r} is an amount that passes; expected through = "a|b" with it')
        several = [known for known in self.fields if known.endswith(f".{of}")]
        if several:
            raise CaseError(f"{where}.of: {of!r} is ambiguous; expected one of {', '.join(several)}")
        known = [*self.fields, *(f"{name}.x" for name, field in self.fields.items() if field.kind == "DG0vector")]
        raise CaseError(
            f"{where}.of: this case has no field {of!r}; it has {', '.join(self.fields)}.{nearest(of, known)}"
        )

    def _through(self, where: str, of: str, through: str) -> _Probe:
        """Return a flux through the surfaces behind a name, counted from the first region named to the second."""
        if of not in self.fluxes:
            hint = nearest(of, self.fluxes)
            raise CaseError(
                f"{where}.of: {of!r} has no flux through a surface; expected {' or '.join(self.fluxes)}.{hint}"
            )
        names = self.domain.match([through], f"{where}.through")
        for surface in (self.domain.surfaces[name] for name in names):
            if surface.kind == "named" and surface.first == surface.second:
                raise CaseError(
                    f"{where}.through: {surface.name!r} lies inside {surface.first} and has no side to count from; "
                    f"expected a surface between two regions or on the outside"
                )
        signs = [1 if fnmatch.fnmatchcase(name, through) else -1 for name in names]
        flux = self.fluxes[of]
        unit = "mm^3/s" if of.endswith("velocity") else "nmol/s"
        return _Probe(unit, lambda: sum(sign * flux(name) for sign, name in zip(signs, names, strict=True)))

    def _at(self, where: str, scalar: Scalar, point: Array) -> _Probe:
        """Return the value at a point."""
        place = locate(self.domain, point, f"{where}.at")
        return _Probe(scalar.field.unit, lambda: _value(self.domain.comm, scalar, place))

    def _within(self, where: str, spec: MeasureSpec, name: str, scalar: Scalar) -> _Probe:
        """Return a number of a region."""
        region = spec.in_ or ""
        if region not in self.domain.regions:
            known = ", ".join(self.domain.regions)
            hint = nearest(region, self.domain.regions)
            raise CaseError(f"{where}.in: the mesh has no region {region!r}; it has {known}.{hint}")
        if scalar.field.kind == "DG0vector" and spec.as_ not in ("mean", "max", "min"):
            raise CaseError(f"{where}.as: {spec.of} has mean, max and min in a region, not {spec.as_}")
        part, unit = Part.of(self.domain, region), scalar.field.unit
        match spec.as_:
            case "mean":
                return _Probe(unit, lambda: part.mean(scalar))
            case "max":
                return _Probe(unit, lambda: part.highest(scalar))
            case "min":
                return _Probe(unit, lambda: part.lowest(scalar))
            case "volume_above":
                threshold = _threshold(where, spec.value, unit)
                return _Probe("mm^3", lambda: part.volume_above(scalar, threshold))
            case "amount":
                if AMOUNT not in name:
                    raise CaseError(f"{where}.as: only a concentration has an amount, {spec.of} has an integral")
                free = name.rpartition(".")[2] == AMOUNT
                weight = self.accessible[name] if free else None
                return _Probe("nmol", lambda: part.integral(scalar, weight))
        return _Probe(times(unit, "mm^3"), lambda: part.integral(scalar))


def _threshold(where: str, text: str | None, unit: str) -> float:
    try:
        return Quantity.parse(text, unit).value
    except ValueError as error:
        raise CaseError(f"{where}.value: {error}") from None


def _value(comm: MPI.Comm, scalar: Scalar, place: Place) -> float:
    """Return a value at a point, known to one rank, on all. Collective."""
    here = 0.0
    if place.cell is not None:
        corners = scalar.corners(np.array([place.cell]))[0]
        here = float(corners @ place.weights) if len(corners) == 4 else float(corners[0])
    return float(comm.allreduce(here))
