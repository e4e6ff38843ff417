"""turgor's part of the flow benchmark, in a process of its own, so that its memory is its own.

    python benchmarks/flow_turgor.py JOB.json          (or under mpiexec)

The last line printed is the result, as JSON.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from turgor.fem.startup import MPI, PETSc  # isort: skip  (MPI before DOLFINx)

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from flow_linear import LinearElements
from support.meshes import balls, write

from turgor.case import Case
from turgor.fem.assembly import array
from turgor.fem.coefficients import Coefficients
from turgor.fem.domain import Domain
from turgor.fem.physics.flow.solver import Flow
from turgor.meshing.compiled import compiled

COMM = MPI.COMM_WORLD
CONDUCTIVITY, PRESSURE = 1e-8, 1000.0
"""Units of K [mm²/(Pa s)] and p [Pa]: all numbers of a job are relative to them."""

OWN = 1e-12
"""The relative true residual to which turgor solves by itself."""

FLUX, LINEAR = "turgor, conservative flux", ("icc", "gamg")

Values = Sequence[Sequence[float]]
"""K, a and f of the tumor and of the host."""


def words(values: Sequence[Values]) -> dict[str, Any]:
    """Return the materials; with several sets of numbers one comes into force each second."""
    seconds = [f"{second} s" for second in range(len(values))]

    def told(numbers: Sequence[float], unit: str) -> object:
        texts = [f"{number!r} {unit}" for number in numbers]
        return texts[0] if len(texts) == 1 else {"times": seconds, "values": texts}

    found: dict[str, Any] = {}
    for index, name in enumerate(("tumor", "host")):
        k, a, f = ([numbers[row][index] for numbers in values] for row in range(3))
        found[name] = {
            "hydraulic_conductivity": told([CONDUCTIVITY * one for one in k], "mm^2/(Pa*s)"),
            "vessel_conductivity": told([CONDUCTIVITY * one for one in a], "mm/(Pa*s)"),
            "vessel_surface_density": "1 1/mm",
            "vascular_pressure": told([PRESSURE * one / two for one, two in zip(f, a, strict=True)], "Pa"),
            "osmotic_reflection": 0.0,
            "plasma_oncotic_pressure": "0 Pa",
            "tissue_oncotic_pressure": "0 Pa",
            "lymphatic_conductance": "0 1/(Pa*s)",
            "lymphatic_pressure": "0 Pa",
        }
    return found


def case_of(file: Path, values: Sequence[Values]) -> Case:
    """Return the case: no pressure at the rim, vessels inside."""
    said = {
        "name": "benchmark",
        "mesh": {"file": file.with_suffix(".msh").name},
        "materials": words(values),
        "physics": {"flow": {"conditions": [{"on": "host|outside", "pressure": "0 Pa"}]}},
    }
    return Case.of(said, folder=file.parent)


class Timed:
    """Something whose named methods are timed; all else is passed on."""

    def __init__(self, inner: Any, spent: dict[str, float], names: Mapping[str, str]) -> None:
        """Take it, where the seconds go, and method -> name of the phase."""
        self._inner, self._spent, self._names = inner, spent, names

    def __getattr__(self, name: str) -> Any:
        """Return the attribute, timed where asked."""
        found = getattr(self._inner, name)
        if name not in self._names:
            return found

        def timed(*given: Any, **named: Any) -> Any:
            begin = time.process_time()
            try:
                return found(*given, **named)
            finally:
                phase = self._names[name]
                self._spent[phase] = self._spent.get(phase, 0.0) + time.process_time() - begin

        return timed


def resident() -> int:
    """Return the bytes that this process holds now, over all ranks."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return int(COMM.allreduce(pages * resource.getpagesize()))


def read(file: Path) -> Domain:
    """Read the mesh; nothing of this is timed."""
    gc.collect()
    return Domain.read(file, COMM)


def conservative(domain: Domain, values: Values, tolerance: float) -> dict[str, Any]:
    """Solve from nothing but the mesh to the conservative flux; return seconds by phase and what was reached."""
    before, case, spent = resident(), case_of(domain.file, [values]), {}
    begin = time.process_time()
    flow = Flow(case.physics["flow"], domain, Coefficients.of(case, domain), {}, case)
    patterns = time.process_time() - begin
    flow.solver.statistics.tolerance = tolerance
    flow.solver.ksp.setConvergenceHistory(length=1000)
    ksp: Any = flow.solver.ksp
    flow.solver.ksp = Timed(ksp, spent, {"setUp": "setup", "solve": "solve"})
    flow.levels = Timed(flow.levels, spent, {"assemble": "assembly"})
    begin = time.process_time()
    flow.start()
    rest = time.process_time() - begin
    found = {"patterns": patterns, **spent, "recovery": rest - sum(spent.values()), "all": patterns + rest}
    worst = {name: max(COMM.allgather(seconds)) for name, seconds in found.items()}
    history = ksp.getConvergenceHistory()
    figures = flow.statistics()
    size = history[-1] / figures["residual_max"]
    return {
        **worst,
        "iterations": figures["iterations_max"],
        "iterations_1e-10": int(np.searchsorted(-history, -1e-10 * size)),
        "solves": figures["solves"],
        "unknowns": figures["unknowns"],
        "residual": figures["residual_max"],
        "imbalance": flow.imbalance(),
        "bytes": resident() - before,
        "sum": domain.sum(flow.cell_pressure * domain.volumes) / PRESSURE,
        "flow": flow,
    }


def best(rounds: int, action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the quickest of some rounds, the memory being that of the first."""
    results = []
    for _ in range(rounds):
        result = action()
        if result.pop("flow", None) is not None:
            gc.collect()
        results.append(result)
    quickest = min(results, key=lambda result: float(result["all"]))
    return {**quickest, **({"bytes": results[0]["bytes"]} if "bytes" in results[0] else {})}


def again(domain: Domain, values: Values, sets: Sequence[Values], tolerance: float) -> dict[str, Any]:
    """Solve with new parameters on what is kept, from a first guess of zero; return the quickest."""
    case = case_of(domain.file, [values, *sets])
    flow = Flow(case.physics["flow"], domain, Coefficients.of(case, domain), {}, case)
    flow.solver.statistics.tolerance = tolerance
    flow.start()
    results = []
    for second in range(len(sets)):
        array(flow.multiplier)[:] = 0.0
        begin = time.process_time()
        flow.advance(float(second), second + 1.0)
        spent = time.process_time() - begin
        total = domain.sum(flow.cell_pressure * domain.volumes) / PRESSURE
        results.append({"all": spent, "iterations": flow.solver.statistics.iterations[-1], "sum": total})
    return min(results, key=lambda result: result["all"])


@compiled
def triad(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    """Write a = b + 3 c."""
    for i in range(len(a)):
        a[i] = b[i] + 3.0 * c[i]


def bandwidth() -> float:
    """Return what STREAM's triad moves here [bytes/s], 24 bytes an element, best of twenty."""
    a, b, c = (np.full(12_000_000, value) for value in (0.0, 1.0, 2.0))
    triad(a, b, c)
    times = []
    for _ in range(20):
        begin = time.process_time()
        triad(a, b, c)
        times.append(time.process_time() - begin)
    return 24 * len(a) / min(times)


PER_FLOP = {"VecAXPY": 12, "VecAYPX": 12, "VecWAXPY": 12, "VecTDot": 8, "VecDot": 8, "VecNorm": 4, "VecScale": 16}
PER_FLOP |= {"VecPointwiseMult": 24, "VecAXPBYCZ": 32 / 5, "VecMAXPY": 8, "VecMDot": 4}
"""Bytes of vectors read and written for each operation that PETSc counts."""
OWN_CELL, OWN_FACET = 64 + 8 * 40, 40 + 8 * 12 + 7 * 24 + 108
"""Bytes of turgor's own loops in an iteration, by cell and by facet; see `moved`."""
PRODUCTS = ("MatMult", "MatMultAdd", "MatMultTranspose", "MatMultTrAdd", "MatSOR")


def moved(flow: Flow) -> tuple[float, float]:
    """Return the bytes that one more solve must move, and its seconds.

    Of turgor's own loops, an iteration's product passes 64 bytes a cell and 40 a facet in double precision; its cycle
    passes eight products of 40 and 12 in single precision, seven steps of 24 a facet, and 108 a facet at its ends and
    between the levels. For the rest PETSc counts two operations a matrix entry, which is a number and a column: 12
    bytes. A row has 20 more (its start, x once, y once) and at least 7 entries on average.
    """
    array(flow.multiplier)[:] = 0.0
    PETSc.Log.begin()
    stage = PETSc.Log.Stage("turgor solve")
    fixed = flow.facets.fixed
    array(flow.multiplier)[fixed] = flow.facets.given[fixed]
    stage.push()
    begin = time.process_time()
    flow.solver.ksp.solve(flow.levels.right, flow.multiplier.x.petsc_vec)
    spent = time.process_time() - begin
    stage.pop()
    number = stage.getId() if hasattr(stage, "getId") else stage.id
    loops = OWN_CELL * len(flow.rows) + OWN_FACET * len(flow.facets.given)
    total = float(loops * (flow.solver.ksp.getIterationNumber() + 1))
    for name in (*PRODUCTS, *PER_FLOP, "VecCopy", "VecSet"):
        info = PETSc.Log.Event(name).getPerfInfo(number)
        each = PER_FLOP.get(name, (12 + 20 / 7) / 2)
        total += each * info["flops"]
    return total, spent


def limit(job: Mapping[str, Any]) -> dict[str, float]:
    """Compare the solve with what memory allows: the least bytes over the measured bandwidth."""
    domain = read(Path(job["case"]))
    case = case_of(domain.file, [job["values"]])
    flow = Flow(case.physics["flow"], domain, Coefficients.of(case, domain), {}, case)
    flow.start()
    speed, rounds = bandwidth(), [moved(flow) for _ in range(5)]
    speed = max(speed, bandwidth())
    return {"bytes": rounds[0][0], "seconds": min(spent for _, spent in rounds), "bandwidth": speed}


def warm() -> None:
    """Load everything that is compiled once and kept, on a small mesh."""
    values = [[10.0, 1.0], [20.0, 5.0], [20.0, 0.5]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(COMM.bcast(name, root=0))
        if COMM.rank == 0:
            write(balls([np.array([0.5, 1.0]), np.array([2.0, 3.0])], ("tumor", "host"), 1), folder)
        COMM.barrier()
        domain = read(folder / "mesh.h5")
        conservative(domain, values, 1e-8)
        again(domain, values, [values], 1e-8)
        if COMM.size == 1:
            LinearElements(domain, "icc").first(values, 1e-8)
        COMM.barrier()


def sizes(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the flow costs at the tolerance that turgor has by itself."""
    file, values = Path(job["case"]), job["values"]
    found = best(job["rounds"], lambda: conservative(read(file), values, OWN))
    peak = COMM.allreduce(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    return {**found, "peak": peak, "ranks": COMM.size}


def jumps(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same for conductivities of the tumor relative to the host's."""
    domain, (_, a, f) = read(Path(job["case"])), job["values"]
    return {f"{k:g}": best(1, lambda k=k: conservative(domain, [[k, 1.0], a, f], OWN)) for k in job["jumps"]}


def first(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return first solves at the peers' tolerance, by name."""
    file, values, tolerance = Path(job["case"]), job["values"], job["tolerance"]
    found = {FLUX: best(job["rounds"], lambda: conservative(read(file), values, tolerance))}
    domain = read(file)
    for kind in LINEAR:
        action = partial(LinearElements(domain, kind).first, values, tolerance)
        found[f"turgor, linear elements, {kind}"] = best(job["rounds"], action)
    return found


def anew(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return solves with new parameters at the peers' tolerance, by name."""
    domain, values, tolerance = read(Path(job["case"])), job["values"], job["tolerance"]
    found = {FLUX: again(domain, values, job["again"], tolerance)}
    for kind in LINEAR:
        linear = LinearElements(domain, kind)
        linear.first(values, tolerance)
        results = [linear.again(new, tolerance) for new in job["again"]]
        found[f"turgor, linear elements, {kind}"] = min(results, key=lambda result: result["all"])
    return found


PARTS = {"sizes": sizes, "jumps": jumps, "first": first, "again": anew, "limit": limit}


def main(job: Mapping[str, Any]) -> None:
    """Do the parts that the job names and print the result."""
    warm()
    found = {name: PARTS[name](job) for name in job["parts"]}
    if COMM.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
