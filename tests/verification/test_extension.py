"""What the README promises to those who extend turgor: a physics of one's own, a reaction of the drug."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from support.bench import COMM, STILL, bench, largest, off, solute, tissue  # isort: skip  (first: it loads MPI)

import numpy as np
import pytest
from support.meshes import Array, slab, write

from turgor.case import Case
from turgor.fem.assembly import new
from turgor.fem.coefficients import Coefficients
from turgor.fem.domain import Domain
from turgor.fem.fields import Field
from turgor.fem.nodes import from_cells
from turgor.fem.physics.drug import solver as drug_solver
from turgor.fem.physics.drug.equations import TERMS, Cells, Term
from turgor.fem.problem import BalanceRow, Problem
from turgor.fem.spec import PhysicsSpec
from turgor.fem.study import solve
from turgor.materials.parameters import Parameter
from turgor.materials.quantity import In, Quantity


class Oxygen(PhysicsSpec):
    """Oxygen that vessels bring and cells consume: do/dt = s - k o, in each cell by itself."""

    key: ClassVar[str] = "oxygen"
    unknowns: ClassVar[Mapping[str, str]] = {"oxygen": "nmol/mm^3"}
    own_parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("oxygen_supply", "nmol/(mm^3*s)", "s", "oxygen from vessels per volume", low=0.0),
        Parameter("oxygen_consumption", "1/s", "k", "rate at which cells consume oxygen", low=0.0, default=0.0),
    )
    parameters: ClassVar[tuple[str, ...]] = ("oxygen_supply", "oxygen_consumption")
    provides: ClassVar[Mapping[str, tuple[str, str]]] = {"oxygen": ("mol/m^3", "oxygen per volume of tissue")}
    live: ClassVar[str] = f"{__name__}:Breathing"

    begin: Annotated[Quantity, In("nmol/mm^3")]


class Breathing(Problem):
    """The discrete counterpart: backward Euler on the nodes, rates shared from the cells."""

    balance_unit = "nmol/s"

    def __init__(
        self, spec: PhysicsSpec, domain: Domain, coefficients: Coefficients, provided: Mapping[str, Any], case: Any
    ) -> None:
        assert isinstance(spec, Oxygen)
        self.spec, self.domain, self.begin = spec, domain, spec.begin.value
        volumes = domain.volumes
        self.volume = from_cells(domain, volumes)
        self.supply = from_cells(domain, volumes * coefficients.cells("oxygen_supply"))
        self.consumption = from_cells(domain, volumes * coefficients.cells("oxygen_consumption"))
        self.oxygen = new(domain.space, "oxygen")
        self.fields = {"oxygen": Field("oxygen", "mol/m^3", "oxygen per volume of tissue", self.oxygen)}
        self.row = BalanceRow("all")

    def start(self) -> None:
        self._keep(np.full(len(self.volume), self.begin))

    def advance(self, begin: float, end: float) -> float:
        dt, old = end - begin, self.oxygen.x.array[: len(self.volume)]
        self.next = (self.volume / dt * old + self.supply) / (self.volume / dt + self.consumption)
        rates = self.supply, self.consumption * self.next, self.volume * (self.next - old) / dt
        made, lost, stored = (float(self.domain.comm.allreduce(float(rate.sum()))) for rate in rates)
        self.row = BalanceRow("all", "", 0.0, 0.0, made, lost, stored)
        return 0.0

    def accept(self) -> None:
        self._keep(self.next)

    def balance(self) -> Iterable[BalanceRow]:
        return [self.row]

    def flux_through(self, surface: str) -> float:
        return 0.0

    def _keep(self, values: Array) -> None:
        self.oxygen.x.array[: len(self.volume)] = values
        self.oxygen.x.scatter_forward()


CASE = """
name = "breath"

[mesh]
file = "bar.msh"

[materials]
tumor = { like = "tumor", oxygen_supply = "3 nmol/(mm^3*min)", oxygen_consumption = "2e-2 1/s" }
normal = { like = "normal tissue", oxygen_supply = "0.1 mol/(m^3*s)", oxygen_consumption = "5e-2 1/s" }

[physics.flow]
conditions = [ { on = "normal|x+", pressure = "0 mmHg" } ]

[physics.oxygen]
begin = "0.5 mol/m^3"

[time]
end = "1 min"
step = "1 s"

[output]
every = "1 min"
measures.tumor = { of = "oxygen", in = "tumor", as = "mean" }
"""


@pytest.fixture
def breath(tmp_path: Path) -> Case:
    """A case with a physics that turgor does not bring."""
    if COMM.rank == 0:
        (tmp_path / "breath.toml").write_text(CASE, encoding="utf-8")
        write(slab(2.0, 8, regions=("tumor", "normal")), tmp_path, "bar")
    COMM.barrier()
    return Case.read(tmp_path / "breath.toml", physics=[Oxygen])


def test_a_physics_of_ones_own_runs_from_case_file_to_run_folder(breath: Case, tmp_path: Path) -> None:
    folder = solve(breath, comm=COMM, into=tmp_path / "results")
    header, *lines = (folder / "quantities.csv").read_text(encoding="utf-8").splitlines()
    assert header == "t [s],tumor [mol/m^3]"
    time, mean = (float(cell) for cell in lines[-1].split(","))
    # Backward Euler far from the interface, whose nodes share both rates: o = s/k + (o₀ - s/k) (1 + k dt)^-n.
    assert time == 60.0
    inner, outer = (s / k + (0.5 - s / k) * (1 + k) ** -60.0 for s, k in ((0.05, 0.02), (0.1, 0.05)))
    assert min(inner, outer) < mean < max(inner, outer)
    assert mean == pytest.approx(inner, rel=0.05)
    rows = [line for line in (folder / "balance.csv").read_text(encoding="utf-8").splitlines() if ",oxygen," in line]
    assert len(rows) == 61
    made, residual = (float(rows[-1].split(",")[i]) for i in (6, 9))
    assert made > 0
    assert abs(residual) < 1e-12 * made
    import h5py

    with h5py.File(folder / "fields.vtkhdf") as file:
        assert {"oxygen", "pressure"} <= set(file["VTKHDF/PointData"])


def test_its_words_are_checked_like_all_others(breath: Case) -> None:
    from turgor.materials.errors import CaseError

    with pytest.raises(CaseError) as refused:
        breath.with_(physics__oxygen__begun="1 mol/m^3", materials__tumor__oxygen_supply="3 nmol/mm^3")
    assert "physics.oxygen.begun: unknown key" in str(refused.value)
    assert "materials.tumor.oxygen_supply" in str(refused.value)
    with pytest.raises(CaseError, match=r"physics\.oxygen: unknown physics"):
        Case.of(dict(breath.words), folder=breath.folder)


def enzyme(cells: Cells) -> Term:
    """Take drug away at 3e-4 1/s, per accessible fluid."""
    loss = 3e-4 * cells.available_volume_fraction
    return Term("enzyme", np.zeros_like(loss), loss)


def test_a_reaction_of_the_drug_is_one_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drug_solver, "TERMS", (*TERMS, enzyme))
    words = tissue() | solute(1e-4, fraction=0.25, decay=1e-4)
    drug = {"initial": {"concentration": "2 mol/m^3"}}
    time = {"end": "1000 s", "step": "10 s"}
    ready = bench(
        tmp_path, slab(1.0, 4), {"tissue": words}, {"flow": STILL, "drug": drug}, time=time, output={"every": "1000 s"}
    )
    ready.march()
    # Backward Euler with the sum of both rates.
    assert largest(ready.drug.values / (2.0 * (1 + 4e-4 * 10.0) ** -100.0) - 1) < 1e-10
    row = ready.row("drug", "tissue")
    assert row.lost > 0
    assert off(row) < 1e-9
