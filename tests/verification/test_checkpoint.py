"""A checkpoint gives back what it was given, on any number of ranks, and a march goes on from it as if nothing was."""

from __future__ import annotations

from pathlib import Path

from turgor.fem.startup import MPI  # isort: skip  (first: it loads MPI)

import numpy as np
import pytest
from numpy.typing import NDArray
from support.bench import COMM, Bench, bench, largest, solute, tissue
from support.meshes import box, write

from turgor.fem import checkpoint as module
from turgor.fem.checkpoint import Checkpoint, Saved
from turgor.fem.domain import Domain
from turgor.fem.march import Stepped, march
from turgor.fem.measures import Area, Peak, PeakTime
from turgor.fem.problem import Nodal, Problem

STEP = Stepped(900.0, 12.5, True, 25.0)
MESH = box(3 * [np.linspace(0, 3, 4)], lambda x: (x[:, 0] > 1.5).astype(np.int64), ("tumor", "normal"))


def field(domain: Domain) -> NDArray[np.float64]:
    """Return values at owned nodes that tell the nodes apart."""
    x = domain.space.tabulate_dof_coordinates()[: domain.space.dofmap.index_map.size_local]
    return np.asarray(1.0 + np.round(x) @ [1.0, 10.0, 100.0])


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    """Return a mesh file."""
    if COMM.rank == 0:
        write(MESH, tmp_path)
    COMM.barrier()
    return tmp_path / "mesh.h5"


def loaded(checkpoint: Checkpoint) -> Saved:
    """Return what a checkpoint holds."""
    saved = checkpoint.load()
    assert isinstance(saved, Saved), saved
    return saved


def test_what_all_ranks_wrote_is_read_by_all_and_by_each_alone(mesh: Path) -> None:
    together, alone = Domain.read(mesh, COMM), Domain.read(mesh, MPI.COMM_SELF)
    small = np.array([-np.inf, 1.0 / 3.0])
    state = {"drug": {"a/b": Nodal(field(together)), "small": small}, "flow": {}}
    Checkpoint(mesh.parent, "case", together).save(STEP, state)
    for domain in (together, alone):
        saved = loaded(Checkpoint(mesh.parent, "case", domain))
        assert (saved.step.time, saved.step.length, saved.step.ahead) == (900.0, 12.5, 25.0)
        assert set(saved.state) == {"drug", "flow"}
        np.testing.assert_array_equal(saved.state["drug"]["small"], small)
        np.testing.assert_array_equal(saved.state["drug"]["a/b"], field(domain))


def test_what_one_rank_wrote_is_read_by_all(mesh: Path) -> None:
    if COMM.rank == 0:
        alone = Domain.read(mesh, MPI.COMM_SELF)
        Checkpoint(mesh.parent, "case", alone).save(STEP, {"drug": {"c": Nodal(field(alone))}})
    COMM.barrier()
    domain = Domain.read(mesh, COMM)
    np.testing.assert_array_equal(loaded(Checkpoint(mesh.parent, "case", domain)).state["drug"]["c"], field(domain))


def test_no_damaged_or_foreign_checkpoint_is_taken(mesh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = Domain.read(mesh, COMM)
    mine = Checkpoint(mesh.parent, "case", domain)
    assert mine.load() == ""
    mine.save(STEP, {"drug": {"c": Nodal(field(domain))}})
    assert Checkpoint(mesh.parent, "another", domain).load() == "checkpoint/state.h5 belongs to another case or mesh"
    monkeypatch.setattr(module, "FORMAT", 2)
    assert mine.load() == "checkpoint/state.h5 has format 1, this version reads 2"
    monkeypatch.undo()
    content = mine.path.read_bytes()
    COMM.barrier()
    for spoiled in (content[:-1], content[:10], b"", content[:700] + b"!" + content[701:]):
        if COMM.rank == 0:
            mine.path.write_bytes(spoiled)
        COMM.barrier()
        assert mine.load() == "checkpoint/state.h5 is damaged"


@pytest.mark.parametrize("history", [Area, Peak, PeakTime])
def test_histories_go_on_from_their_numbers(history: type[Area | Peak]) -> None:
    values = [(0.0, 1.0), (1.0, 4.0), (3.0, 2.0), (4.0, 5.0)]
    whole, first, second = history(), history(), history()
    expected = [whole.add(*value) for value in values][-1]
    second.resume(first.state())
    for value in values[:2]:
        second.add(*value)
    third = history()
    third.resume(second.state())
    assert [third.add(*value) for value in values[2:]][-1] == expected


def injected(folder: Path) -> Bench:
    """Return a case with all that changes in time: plasma, an injection of fluid and drug that ends, a steady leak."""
    words = {
        name: {**tissue(1e-8, filtration=1e-7, pressure=2e3), **solute(1e-4, permeability=1e-5, decay=1e-4)}
        for name in ("tumor", "normal")
    }
    physics = {
        "flow": {
            "conditions": [{"on": "*|outside", "pressure": "0 Pa"}],
            "sources": [{"in": "tumor", "rate": "0.001 mm^3/s", "duration": "50 s"}],
        },
        "drug": {
            "agent": "doxorubicin",
            "plasma": {"dose": "50 mg/m^2", "kind": "infusion", "duration": "70 s"},
            "sources": [{"in": "tumor", "rate": "0.01 nmol/s", "duration": "50 s"}],
        },
    }
    time = {"end": "100 s", "tolerance": 0.05}
    return bench(folder, MESH, words, physics, time=time, patient={"body_surface": "1.8 m^2"})


def test_a_march_goes_on_from_any_step_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    whole = injected(tmp_path)
    saved: list[Stepped] = []
    folders: list[Path] = []
    values = {}
    for step in march(whole.problems, whole.case.time, whole.case.output):
        saved.append(step)
        values[step.time] = whole.drug.values.copy()
        folders.append(tmp_path / str(len(saved)))
        if COMM.rank == 0:
            folders[-1].mkdir()
        COMM.barrier()
        states = {name: problem.state() for name, problem in whole.problems.items()}
        Checkpoint(folders[-1], "case", whole.domain).save(step, {n: s for n, s in states.items() if s is not None})
    times = [step.time for step in saved]
    assert {50.0, 70.0, 100.0} <= set(times)
    for number in (len(saved) // 3, times.index(50.0), times.index(70.0), len(saved) - 2):
        again = injected(tmp_path)
        found = loaded(Checkpoint(folders[number], "case", again.domain))
        for name, problem in again.problems.items():
            problem.resume(found.step.time, found.state[name])
        for step in march(again.problems, again.case.time, again.case.output, found.step):
            assert step.time in values
            off = largest(again.drug.values - values[step.time])
            assert off <= 1e-9 * largest(values[step.time]), "the flow is solved to 1e-12"
        assert step == saved[-1]


def test_a_physics_that_gives_no_state_is_never_taken_up(tmp_path: Path) -> None:
    flow = injected(tmp_path).flow
    assert Problem.state(flow) is None
    with pytest.raises(NotImplementedError, match="Flow gives no state"):
        Problem.resume(flow, 0.0, {})
