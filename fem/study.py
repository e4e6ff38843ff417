"""Solve a case on its mesh: the whole program."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from turgor.case import Case
from turgor.fem import summary
from turgor.fem.coefficients import Coefficients
from turgor.fem.couple import couple
from turgor.fem.domain import Domain
from turgor.fem.march import Stepped, march
from turgor.fem.measures import Measures
from turgor.fem.physics.drug.plasma import Plasma as PlasmaCurve
from turgor.fem.problem import Problem
from turgor.fem.record import Balance, Plasma, Quantities, Regions, static_fields
from turgor.fem.runfolder import RunFolder, agree, find_run
from turgor.fem.spec import TimeSpec
from turgor.fem.vtkhdf import FieldFile
from turgor.progress import Progress, silent

EARLY = 1e-6
"""The part of the whole time with which adaptive steps begin, by order of magnitude."""


def solve(
    case: Case, *, comm: MPI.Intracomm = MPI.COMM_WORLD, into: Path = Path("results"), progress: Progress = silent
) -> Path:
    """Solve a case on its mesh and return the run folder; collective.

    Args:
        case: The case; its mesh must exist.
        comm: Who shares the work.
        into: Where the run folder is made.
        progress: Told the time reached, the end, and what happens.

    Raises:
        CaseError: Every complaint that needs the mesh, before anything is written.
        NotConverged: A solver failed; the run folder says so, too.
    """
    domain = Domain.read(case.mesh.file.with_suffix(".h5"), comm)
    coefficients = Coefficients.of(case, domain)
    identity = agree(comm, lambda: summary.identity(case, domain))
    place = find_run(into, identity, comm)
    if place.status == "finished":
        return place.path
    problems = couple(case, domain, coefficients)
    recorder = Recorder(case, domain, problems)
    with ExitStack() as stack:
        run = stack.enter_context(RunFolder(place.path, identity, comm))
        recorder.open(run, stack)
        run.write("case.toml", case.text)
        run.write_json("resolved.json", summary.resolved(case, domain, coefficients, problems))
        run.note(summary.before(case, domain, problems))
        with run.stage("solve"):
            for step in march(problems, case.time, case.output):
                recorder.write(step)
                progress(*_done(step, case.time), f"t = {step.time:.4g} s, step {step.length:.3g} s")
        citations = summary.citations(case, domain, coefficients)
        run.write("references.bib", summary.bibliography(citations))
        run.note(summary.after(case, domain, problems, citations, recorder.worst))
    return place.path


def _done(step: Stepped, time: TimeSpec | None) -> tuple[float, float]:
    """Return how much is done of how much; adaptive steps grow with the time, so that its logarithm counts them."""
    if time is None:
        return 0.0, 0.0
    if time.step is not None:
        return step.time, time.end.value
    unit = EARLY * time.end.value
    return float(np.log1p(step.time / unit)), float(np.log1p(time.end.value / unit))


class Recorder:
    """Writes what a step gives: fields now and then, tables always.

    Attributes:
        worst: Physics -> largest residual of its balance so far, relative to the largest term of the row.
    """

    def __init__(self, case: Case, domain: Domain, problems: Mapping[str, Problem]) -> None:
        """Prepare the measures, which may refuse; collective. Nothing is written yet."""
        self.domain, self.problems = domain, problems
        self.fields = {name: field for problem in problems.values() for name, field in problem.fields.items()}
        fluxes = {
            name: problems[key].flux_through
            for key, name in (("flow", "velocity"), ("drug", "drug"))
            if key in problems
        }
        self.accessible: dict[str, np.ndarray] = {}
        for problem in problems.values():
            self.accessible.update(problem.provides().get("accessible", {}))
        self.measures = Measures(case.output.measures, domain, self.fields, fluxes, self.accessible)
        self.worst: dict[str, float] = {}

    def open(self, run: RunFolder, stack: ExitStack) -> None:
        """Begin the files; collective."""
        path = run.file("fields.vtkhdf")
        self._file = stack.enter_context(
            FieldFile(path, self.domain.mesh, self.domain.comm, static_fields(self.domain))
        )
        self._quantities = Quantities(run, self.measures.units)
        self._balance = Balance(run)
        self._regions = Regions(run, self.domain, self.fields, self.accessible)
        curve = getattr(self.problems.get("drug"), "plasma", None)
        self._curve: PlasmaCurve | None = curve
        self._plasma = Plasma(run) if curve is not None else None

    def write(self, step: Stepped) -> None:
        """Write the state at the end of a step; collective."""
        time = step.time
        if step.output:
            self._file.write(time, self.fields)
        self._quantities.write(time, self.measures.at(time))
        self._regions.write(time)
        for name, problem in self.problems.items():
            rows = list(problem.balance())
            self._balance.write(time, name, problem.balance_unit, rows)
            ratios = [abs(row.residual) / row.scale for row in rows if not row.surface and row.scale > 0]
            self.worst[name] = max([self.worst.get(name, 0.0), *ratios])
        if self._plasma is not None and self._curve is not None:
            self._plasma.write([(time, float(self._curve.at(np.array([time]))[0]))])
