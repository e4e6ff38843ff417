"""Set a case on a mesh made in the test, and look at what the solvers make of it; every function is collective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turgor.fem.startup import MPI  # isort: skip  (first: it loads MPI)

from support.meshes import write

from turgor.case import Case
from turgor.fem.coefficients import Coefficients
from turgor.fem.couple import couple
from turgor.fem.domain import Domain
from turgor.fem.march import Stepped, march
from turgor.fem.physics.drug.solver import Drug
from turgor.fem.physics.flow.solver import Flow
from turgor.fem.problem import BalanceRow, Problem
from turgor.fem.spec import PhysicsSpec
from turgor.meshing.tetrahedra import Tetrahedra

Array = NDArray[np.float64]
COMM = MPI.COMM_WORLD
MMHG = 133.322387415
"""One millimeter of mercury [Pa]."""


@dataclass(frozen=True)
class Bench:
    """A case that is ready to be solved.

    Attributes:
        case: What the user says.
        domain: The mesh.
        problems: The live physics by name.
    """

    case: Case
    domain: Domain
    problems: Mapping[str, Problem]

    @property
    def flow(self) -> Flow:
        flow = self.problems["flow"]
        assert isinstance(flow, Flow)
        return flow

    @property
    def drug(self) -> Drug:
        drug = self.problems["drug"]
        assert isinstance(drug, Drug)
        return drug

    @property
    def nodes(self) -> Array:
        """Coordinates of this rank's nodes [mm], in the order of `drug.values`, shape (n, 3)."""
        return np.asarray(self.domain.space.tabulate_dof_coordinates()[: self.domain.space.dofmap.index_map.size_local])

    def with_outputs(self, every: str) -> Bench:
        """Return the bench with fields written every so often, on which steps land."""
        return replace(self, case=self.case.with_(output={"every": every}))

    def start(self) -> Bench:
        """Start all physics and return the bench itself."""
        for problem in self.problems.values():
            problem.start()
        return self

    def march(self, **time: object) -> list[Stepped]:
        """March from the start, with other words in [time] if given, and return the steps."""
        case = self.case.with_(time=time) if time else self.case
        return list(march(self.problems, case.time, case.output))

    def amount(self) -> float:
        """Return the drug in the whole mesh [nmol]."""
        drug = self.drug
        return total(sum(float(rates.mass @ drug.values) for rates in drug.regions))

    def row(self, physics: str, region: str, surface: str = "") -> BalanceRow:
        """Return one row of the balance of the last step."""
        rows = [r for r in self.problems[physics].balance() if (r.region, r.surface) == (region, surface)]
        assert len(rows) == 1, (region, surface)
        return rows[0]


def bench(
    folder: Path,
    mesh: Tetrahedra,
    materials: Mapping[str, Mapping[str, object]],
    physics: Mapping[str, object],
    *,
    own: Sequence[type[PhysicsSpec]] = (),
    **sections: Any,
) -> Bench:
    """Write the mesh and make the physics of a case live on it.

    Args:
        folder: The same on every rank.
        mesh: The same on every rank.
        materials: Region -> words under [materials].
        physics: Words under [physics].
        own: Physics beside those of turgor.
        sections: Other sections of the case file.
    """
    file = folder / "mesh.h5"
    if COMM.rank == 0:
        write(mesh, folder)
    COMM.barrier()
    words = {"name": "test", "mesh": {"file": "mesh.msh"}, "materials": materials, "physics": physics, **sections}
    if "drug" in physics:
        words.setdefault("time", {"end": "1 s"})
    case = Case.of(words, folder=folder, physics=own)
    domain = Domain.read(file, COMM)
    return Bench(case, domain, couple(case, domain, Coefficients.of(case, domain)))


def tissue(
    conductivity: float = 1e-8,
    *,
    filtration: float = 0.0,
    pressure: float = 0.0,
    drainage: float = 0.0,
    lymph_pressure: float = 0.0,
    **words: object,
) -> dict[str, object]:
    """Return the words for a tissue by what enters the equations.

    Args:
        conductivity: K [mm²/(Pa s)].
        filtration: Lp S/V [1/(Pa s)].
        pressure: pe, at which the vessels stop leaking [Pa].
        drainage: LpL SL/V of the lymph [1/(Pa s)].
        lymph_pressure: pL [Pa].
        words: Others as they are.
    """
    return {
        "hydraulic_conductivity": f"{conductivity!r} mm^2/(Pa*s)",
        "vessel_conductivity": f"{filtration!r} mm/(Pa*s)",
        "vessel_surface_density": "1 1/mm",
        "vascular_pressure": f"{pressure!r} Pa",
        "osmotic_reflection": 0.0,
        "plasma_oncotic_pressure": "0 Pa",
        "tissue_oncotic_pressure": "0 Pa",
        "lymphatic_conductance": f"{drainage!r} 1/(Pa*s)",
        "lymphatic_pressure": f"{lymph_pressure!r} Pa",
        **words,
    }


def solute(
    diffusivity: float = 0.0,
    *,
    permeability: float = 0.0,
    reflection: float = 0.0,
    hindrance: float = 1.0,
    fraction: float = 0.25,
    decay: float = 0.0,
) -> dict[str, object]:
    """Return the words for a drug in a tissue: D [mm²/s], P S/V [1/s], σf, R, n_a and k [1/s]."""
    return {
        "diffusivity": f"{diffusivity!r} mm^2/s",
        "vascular_permeability": f"{permeability!r} mm/s",
        "filtration_reflection": reflection,
        "convective_hindrance": hindrance,
        "available_volume_fraction": fraction,
        "decay_rate": f"{decay!r} 1/s",
    }


STILL: Mapping[str, object] = {"conditions": [{"on": ["*|outside", "*|cut", "*|x-"], "pressure": "0 Pa"}]}
"""Words under [physics.flow] for tissue without vessels in which nothing flows."""


def total(part: float) -> float:
    """Return the sum over all ranks."""
    return float(COMM.allreduce(part))


def largest(values: Array) -> float:
    """Return the largest magnitude over all ranks."""
    return float(max(COMM.allgather(float(np.abs(values).max(initial=0.0)))))


def order(errors: Sequence[float]) -> float:
    """Return the observed order of convergence between the last two of errors at halved widths."""
    return float(np.log2(errors[-2] / errors[-1]))


def off(row: BalanceRow) -> float:
    """Return the residual of a row, relative to its largest term."""
    return abs(row.residual) / row.scale if row.scale > 0 else 0.0


__all__ = [
    "COMM", "MMHG", "STILL", "Bench", "bench", "largest", "off", "order", "solute", "tissue", "total",
]  # fmt: skip
