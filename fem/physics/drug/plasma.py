"""Free drug in plasma against time: from a dose with the agent's kinetics, or from a curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turgor.fem.physics.drug.spec import PlasmaSpec
from turgor.fem.spec import PatientSpec
from turgor.materials.laws import schedule
from turgor.materials.library import Agent, Entry
from turgor.materials.quantity import Quantity
from turgor.materials.values import Table

Array = NDArray[np.float64]
GAUSS = np.polynomial.legendre.leggauss(5)
MOST_PARTS = 10_000
"""Most parts of a step, each no longer than the fastest phase, over which the plasma is averaged."""


@dataclass(frozen=True)
class Plasma:
    """Free concentration in plasma [mol/m³].

    Attributes:
        dose: Amount of each dose [nmol].
        starts: Times of the doses [s].
        amplitudes: Concentration per dose [1/mm³] of each phase.
        rates: Rate of each phase [1/s].
        duration: Of each infusion [s]; 0 for a bolus.
        free: Fraction that is not bound.
        curve: Measured instead of computed; `free` applies to it too.
    """

    dose: float = 0.0
    starts: tuple[float, ...] = ()
    amplitudes: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    duration: float = 0.0
    free: float = 1.0
    curve: Table | None = None

    @classmethod
    def of(cls, spec: PlasmaSpec | None, agent: Agent | None, patient: PatientSpec | None) -> Plasma:
        """Build the curve of a case; the case has been checked. Without a plasma the blood carries none."""
        if spec is None:
            return cls()
        free = _number(agent.unbound_fraction) if agent is not None else 1.0
        if spec.curve is not None:
            if spec.of == "blood" and patient is not None and patient.hematocrit is not None:
                free = (free if spec.fraction == "total" else 1.0) / (1 - patient.hematocrit)
            elif spec.fraction == "free":
                free = 1.0
            return cls(free=free, curve=spec.curve)
        assert agent is not None
        return cls(
            dose=_amount(spec, agent, patient),
            starts=tuple(time.value for time in spec.schedule) or (0.0,),
            amplitudes=tuple(_number(amplitude) for amplitude, _ in agent.kinetics),
            rates=tuple(_number(rate) for _, rate in agent.kinetics),
            duration=spec.duration.value if spec.duration else 0.0,
            free=free,
        )

    def at(self, times: Array) -> Array:
        """Return the concentration at times [s]; at the moment of a dose, the value just after it."""
        if self.curve is not None:
            return self.free * np.interp(times, self.curve.times, self.curve.values)
        if not self.starts:
            return np.zeros_like(times)
        response = schedule(times, self.starts, self.amplitudes, self.rates, self.duration)
        return np.asarray(self.free * self.dose * response)

    def mean(self, begin: float, end: float) -> float:
        """Return the mean concentration over a step that no event lies inside of."""
        if self.curve is not None:
            inside = [time for time in self.curve.times if begin < time < end]
            times = np.array([begin, *inside, end])
            return float(np.trapezoid(self.at(times), times) / (end - begin))
        points, weights = GAUSS
        parts = int(np.clip(np.ceil(max(self.rates, default=0.0) * (end - begin)), 1, MOST_PARTS))
        edges = np.linspace(begin, end, parts + 1)
        times = edges[:-1, None] + (end - begin) / parts * (points + 1) / 2
        return float((self.at(times.ravel()).reshape(times.shape) @ weights / 2).mean())

    def events(self) -> tuple[float, ...]:
        """Return the times [s] at which the curve has a jump or a kink that a step must land on."""
        if self.curve is not None:
            return (self.curve.times[0], self.curve.times[-1])
        return (*self.starts, *(start + self.duration for start in self.starts if self.duration))


def _number(entry: Entry) -> float:
    """Return the number of a library entry in its internal unit."""
    assert isinstance(entry.quantity, Quantity)
    return entry.quantity.value


def _amount(spec: PlasmaSpec, agent: Agent, patient: PatientSpec | None) -> float:
    """Return the dose [nmol]."""
    dose = spec.dose
    assert dose is not None
    if dose.unit == "nmol":
        return dose.value
    grams = dose.value
    if dose.unit == "g/mm^2":
        assert patient is not None
        assert patient.body_surface is not None
        grams *= patient.body_surface.value
    elif dose.unit == "":
        assert patient is not None
        assert patient.mass is not None
        grams *= patient.mass.value
    return grams / _number(agent.molar_mass)
