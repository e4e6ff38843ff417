"""A case said in meters and kilograms, and in millimeters and grams, is the same case, on any number of ranks."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from support.bench import COMM  # isort: skip  (first: it loads MPI)

from turgor.fem.startup import MPI

import numpy as np
from support.meshes import balls
from support.page import Page, Section

from turgor.case import Case
from turgor.fem.study import solve
from turgor.line import mesh
from turgor.meshing.formats import write_msh

UNITS = Section(
    14,
    "Units and ranks",
    "A leaky sphere with a necrotic core in tissue with lymph, a source and an exchange at its surface, said twice: in "
    "m, kg, s with a mesh in meters, and in mm, g, s with a mesh in millimeters. And the same on all ranks together "
    "and on one alone; the tests run it on one, two and three.",
    """
1 m³ s/kg = 1e6 mm³ s/g,   1 kg/(m s²) = 1 g/(mm s²) = 1 Pa""",
    "numbers of the run's tables, each relative to itself, net rates to the largest in their row. The same equations "
    "are solved, but for rounding; on other numbers of ranks the solver stops elsewhere below its tolerance of 1e-12.",
)

UNIT, RANK = 1e-10, 1e-8
TABLES = ("quantities.csv", "balance.csv", "fluid.csv", "surfaces.csv", "rim.csv", "profile.csv", "fate.csv")


@dataclass(frozen=True)
class System:
    """Units of length and mass, with time in seconds.

    Attributes:
        length: Name.
        mass: Name.
        millimeters: In one unit of length.
        grams: In one unit of mass.
    """

    length: str
    mass: str
    millimeters: float
    grams: float

    def say(self, value: float, length: int = 0, mass: int = 0, time: int = 0) -> str:
        """Return a value, given in mm, g and s, in these units with their exponents."""
        number = value / self.millimeters**length / self.grams**mass
        powers = {self.length: length, self.mass: mass, "s": time}
        return f"{float(number)!r} " + "*".join(f"{unit}^{power}" for unit, power in powers.items() if power)

    def pressure(self, value: float) -> str:
        return self.say(value, -1, 1, -2)

    def tissue(self, conductivity: float, filtration: float, drainage: float = 0.0) -> Mapping[str, object]:
        """Return the words for K [mm²/(Pa s)], Lp S/V and LL [1/(Pa s)]; 1/Pa = mm s²/g."""
        return {
            "hydraulic_conductivity": self.say(conductivity, 3, -1, 1),
            "vessel_conductivity": self.say(filtration / 20.0, 2, -1, 1),
            "vessel_surface_density": self.say(20.0, -1),
            "vascular_pressure": self.pressure(2100.0),
            "osmotic_reflection": 0.9,
            "plasma_oncotic_pressure": self.pressure(2600.0),
            "tissue_oncotic_pressure": self.pressure(1800.0),
            "lymphatic_conductance": self.say(drainage, 1, -1, 1),
            "lymphatic_pressure": self.pressure(-300.0),
        }

    def words(self) -> dict[str, object]:
        """Return the case."""
        robin = {"coefficient": self.say(3e-8, 2, -1, 1), "to": self.pressure(-150.0)}
        at = [self.say(x, 1) for x in (1.1, 0.9, 0.4)]
        source = {"at": at, "radius": self.say(0.5, 1), "rate": self.say(2e-5, 3, 0, -1)}
        return {
            "name": f"said-in-{self.length}",
            "mesh": {"file": f"{self.length}.msh", "unit": self.length},
            "materials": {
                "core": self.tissue(3e-8, 0.0),
                "tumor": self.tissue(2e-8, 2e-7),
                "normal": self.tissue(7e-9, 2e-8, 1.5e-8),
            },
            "physics": {"flow": {"conditions": [{"on": "*|outside", "exchange": robin}], "sources": [source]}},
            "output": {
                "measures": {
                    "rim": {"of": "velocity", "through": "tumor|normal"},
                    "plateau": {"of": "pressure", "in": "tumor", "as": "max"},
                    "speed": {"of": "velocity", "in": "normal", "as": "mean"},
                    "point": {"of": "pressure", "at": [self.say(x, 1) for x in (0.3, 0.5, 1.2)]},
                }
            },
        }


SYSTEMS = (System("m", "kg", 1e3, 1e3), System("mm", "g", 1.0, 1.0))


def ran(system: System, folder: Path, comm: MPI.Intracomm) -> dict[str, list[dict[str, str]]]:
    """Return the tables of the case, solved by the ranks of a communicator."""
    if COMM.rank == 0:
        ends = [np.linspace(low, high, n + 1)[1:] for low, high, n in ((0, 0.5, 2), (0.5, 1.2, 3), (1.2, 2.4, 3))]
        whole = balls(ends, ("core", "tumor", "normal"), 2)
        write_msh(folder / f"{system.length}.msh", replace(whole, points=whole.points / system.millimeters))
        mesh(Case.of(system.words(), folder=folder))
    COMM.barrier()
    case = Case.of(system.words(), folder=folder)
    found = solve(case, comm=comm, into=folder / f"of-{comm.size}-{COMM.rank if comm.size < COMM.size else 0}")
    COMM.barrier()
    read = {}
    for table in TABLES:
        with (found / table).open(newline="", encoding="utf-8") as file:
            read[table] = list(csv.DictReader(file))
    return read


def difference(one: list[dict[str, str]], other: list[dict[str, str]]) -> float:
    """Return the largest relative difference of two tables; what is not a number must agree."""
    assert len(one) == len(other) > 0
    worst = 0.0
    for left, right in zip(one, other, strict=True):
        numbers = {key: (float(text), float(right[key])) for key, text in left.items() if numeric(text)}
        assert {key: text for key, text in left.items() if key not in numbers} == {
            key: text for key, text in right.items() if key not in numbers
        }
        rates = {key for key in numbers if key in TERMS or key.endswith("mm^3/s]")}
        largest = max((abs(numbers[key][0]) for key in rates), default=0.0)
        for key, (a, b) in numbers.items():
            scale = largest if key in rates else abs(a)
            worst = max(worst, abs(a - b) / scale if scale > 0 else abs(a - b))
    return worst


TERMS = ("in", "out", "made", "lost", "stored", "residual")


def numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_the_units_of_the_words_do_not_matter(page: Page, tmp_path: Path) -> None:
    one, other = (ran(system, tmp_path, COMM) for system in SYSTEMS)
    for table in TABLES:
        error = difference(one[table], other[table])
        page.error(UNITS, "m, kg, s against mm, g, s", f"all of {table}", error, UNIT)


def test_all_ranks_together_find_what_each_finds_alone(page: Page, tmp_path: Path) -> None:
    together, alone = (ran(SYSTEMS[0], tmp_path, comm) for comm in (COMM, MPI.COMM_SELF))
    for table in TABLES:
        page.error(UNITS, "all ranks against one", f"all of {table}", difference(alone[table], together[table]), RANK)
