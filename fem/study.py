"""Solve a case on its mesh: the whole program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from turgor.fem.startup import MPI  # isort: skip  (MPI before DOLFINx)

from turgor.case import Case
from turgor.fem import record, summary, vtkhdf
from turgor.fem.checkpoint import Checkpoint, Saved, State
from turgor.fem.coefficients import Coefficients
from turgor.fem.couple import couple
from turgor.fem.domain import Domain
from turgor.fem.march import Stepped, march
from turgor.fem.measures import Measures
from turgor.fem.physics.drug.plasma import Plasma as PlasmaCurve
from turgor.fem.problem import Problem
from turgor.fem.record import QUANTITIES, TIME, Balance, Plasma, Quantities, Regions, Table, static_fields
from turgor.fem.runfolder import RunFolder, agree, find_run
from turgor.fem.spec import TimeSpec
from turgor.fem.vtkhdf import FieldFile, Numbered
from turgor.progress import Progress, silent

FIELDS = "fields.vtkhdf"
MEASURES, WORST, WRITTEN = "output.measures", "output.worst", "output.written"
"""Names of the recorder's parts of a checkpoint, which no physics has."""

EARLY = 1e-6
"""The part of the whole time with which adaptive steps begin, by order of magnitude."""


def unheard(sentence: str) -> None:
    """Take a sentence and drop it."""


def solve(
    case: Case,
    *,
    comm: MPI.Intracomm = MPI.COMM_WORLD,
    into: Path = Path("results"),
    progress: Progress = silent,
    log: Callable[[str], None] = unheard,
) -> Path:
    """Solve a case on its mesh and return the run folder; collective. A run that was stopped goes on.

    Args:
        case: The case; its mesh must exist.
        comm: Who shares the work.
        into: Where the run folder is made.
        progress: Told the time reached, the end, and what happens.
        log: Takes a sentence now and then.

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
        run = stack.enter_context(RunFolder(place.path, identity, comm, keep=True))
        checkpoint = Checkpoint(run.path, identity.case_hash, domain)
        reached = take_up(run, checkpoint, recorder, problems, log)
        recorder.open(run, stack)
        run.write("case.toml", case.text)
        run.write_json("resolved.json", summary.resolved(case, domain, coefficients, problems))
        run.note(summary.before(case, domain, problems))
        with run.stage("solve"):
            for step in march(problems, case.time, case.output, reached):
                recorder.write(step)
                keep(run, checkpoint, step, recorder, problems)
                progress(*_done(step, case.time), f"t = {step.time:.4g} s, step {step.length:.3g} s")
        citations = summary.citations(case, domain, coefficients)
        run.write("references.bib", summary.bibliography(citations))
        run.note(summary.after(case, coefficients, problems, citations, recorder.worst))
    return place.path


def take_up(
    run: RunFolder,
    checkpoint: Checkpoint,
    recorder: Recorder,
    problems: Mapping[str, Problem],
    log: Callable[[str], None] = unheard,
) -> Stepped | None:
    """Go on from the checkpoint if it and the files that it belongs to are whole, else start anew; collective.

    Returns:
        The step after which to go on, None at a new start.
    """
    saved = checkpoint.load()
    complaint = saved if isinstance(saved, str) else agree(run.comm, lambda: recorder.complaint(run.path, saved))
    if isinstance(saved, str) or complaint:
        if complaint:
            log(f"starting anew: {complaint}")
        run.start_anew(complaint)
        return None
    time = saved.step.time
    log(f"resuming at t = {time:g} s")
    run.resume(time)
    for name, problem in problems.items():
        problem.resume(time, saved.state[name])
    recorder.resume(saved.state)
    return saved.step


def keep(
    run: RunFolder, checkpoint: Checkpoint, step: Stepped, recorder: Recorder, problems: Mapping[str, Problem]
) -> None:
    """Take a checkpoint with the fields, and when it is due, if all physics can be taken up again; collective."""
    if step.length == 0 or not (step.output or agree(run.comm, checkpoint.is_due)):
        return
    states: dict[str, State] = {}
    for name, problem in problems.items():
        state = problem.state()
        if state is None:
            return
        states[name] = state
    checkpoint.save(step, {**states, **recorder.state()})
    run.note({"time": step.time})


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
        self.tables = {name: own for problem in problems.values() for name, own in problem.own_tables().items()}
        self.worst: dict[str, float] = {}
        self._written = 0.0
        self._curve: PlasmaCurve | None = getattr(problems.get("drug"), "plasma", None)

    def open(self, run: RunFolder, stack: ExitStack) -> None:
        """Begin the files, or go on with those of an earlier start; collective."""
        static = static_fields(self.domain)
        self._file = stack.enter_context(
            FieldFile(run.file(FIELDS), self.domain.mesh, self.domain.comm, static, until=run.until)
        )
        self._quantities = Quantities(run, self.measures.units)
        self._balance = Balance(run)
        self._regions = Regions(run, self.domain, self.fields, self.accessible)
        self._own = [(Table(run, name, (TIME, *own.columns)), own) for name, own in self.tables.items()]
        self._plasma = Plasma(run) if self._curve is not None else None

    def state(self) -> dict[str, State]:
        """Return what must be known to go on."""
        worst = {name: np.array([ratio]) for name, ratio in self.worst.items()}
        return {MEASURES: self.measures.state(), WORST: worst, WRITTEN: {FIELDS: np.array([self._written])}}

    def resume(self, state: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Go on from what `state` gave."""
        self.measures.resume(state[MEASURES])
        self.worst = {name: float(ratio[0]) for name, ratio in state[WORST].items()}
        self._written = float(state[WRITTEN][FIELDS][0])

    def complaint(self, folder: Path, saved: Saved) -> str:
        """Say what keeps the files from going on after a checkpoint; "" when nothing does. On rank 0."""
        tables = [QUANTITIES, "balance.csv", "regions.csv", *(["plasma.csv"] if self._curve else []), *self.tables]
        written = float(saved.state[WRITTEN][FIELDS][0])
        return record.complaint(folder, tables, saved.step.time) or vtkhdf.complaint(folder / FIELDS, written)

    def _beside(self) -> dict[str, Numbered]:
        """Return what the physics write beside their fields."""
        found = [item for problem in self.problems.values() for item in problem.cell_fields().items()]
        return {name: Numbered("DG0", values, unit) for name, (values, unit) in found}

    def write(self, step: Stepped) -> None:
        """Write the state at the end of a step; collective."""
        time = step.time
        if step.output:
            self._file.write(time, {**self.fields, **self._beside()})
            self._written = time
            for table, own in self._own:
                table.append((time, *row) for row in list(own.rows()))
        self._quantities.write(time, self.measures.at(time))
        self._regions.write(time)
        for name, problem in self.problems.items():
            rows = list(problem.balance())
            self._balance.write(time, name, problem.balance_unit, rows)
            ratios = [abs(row.residual) / row.scale for row in rows if not row.surface and row.scale > 0]
            self.worst[name] = max([self.worst.get(name, 0.0), *ratios])
        if self._plasma is not None and self._curve is not None:
            self._plasma.write([(time, float(self._curve.at(np.array([time]))[0]))])
