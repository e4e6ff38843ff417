"""Tests in one process and under mpirun: all ranks pass or fail together, and clean up together.

Under `mpirun -n N python -m pytest` only tests marked `mpi` run, as all of tests/verification are; `tmp_path` is then
the same folder on every rank. Only rank 0 prints; a failure elsewhere is told by it.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mpi4py import MPI

pytest_plugins = ["support.page"]

PARALLEL = int(os.environ.get("PMI_SIZE") or os.environ.get("OMPI_COMM_WORLD_SIZE") or "1") > 1


def world() -> MPI.Intracomm:
    """Return all ranks; imported late, because most tests need no MPI."""
    from mpi4py import MPI

    return MPI.COMM_WORLD


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the verification tests as parallel; under mpirun, leave the others out."""
    for item in items:
        if "verification" in item.path.parts:
            item.add_marker(pytest.mark.mpi)
    if PARALLEL:
        items[:] = [item for item in items if item.get_closest_marker("mpi")]


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let rank 0 alone print."""
    if PARALLEL and world().rank > 0:
        config.pluginmanager.unregister(name="terminalreporter")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failure on one rank fail the test on all."""
    report = yield
    if PARALLEL:
        said = world().allgather(str(report.longrepr) if report.failed else "")
        others = [f"rank {rank}:\n{text}" for rank, text in enumerate(said) if text]
        if others and not report.failed:
            report.outcome = "failed"
            report.longrepr = "\n".join(others)
    return report


@pytest.fixture(autouse=True)
def _clean_up_together(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let all ranks drop collective objects together."""
    yield
    if request.node.get_closest_marker("mpi"):
        gc.collect()
        world().barrier()
        if "petsc4py.PETSc" in sys.modules:
            # In parallel PETSc keeps what Python drops until all ranks agree to destroy it.
            sys.modules["petsc4py.PETSc"].garbage_cleanup(world())


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """Return a new empty folder, the same one on every rank."""
    return world().bcast(tmp_path) if PARALLEL else tmp_path
