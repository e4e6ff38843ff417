"""Forms compile once, alone, in a folder of their own, and survive what dead processes leave behind."""

from __future__ import annotations

import stat
import time
from pathlib import Path

from turgor.fem.startup import MPI, compile_retrying, form, form_folder

import cffi
import dolfinx
import dolfinx.jit
import pytest
import ufl
from dolfinx import fem

from turgor.fem import startup
from turgor.materials.errors import SetupError

COMM = MPI.COMM_WORLD


@pytest.fixture
def forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep compiled forms in a new folder."""
    (tmp_path / "lock").touch()
    monkeypatch.setattr(startup, "form_folder", lambda: tmp_path)
    options = {**dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS, "cache_dir": (tmp_path, "")}
    monkeypatch.setattr(dolfinx.jit, "DOLFINX_DEFAULT_JIT_OPTIONS", {**options, "timeout": (2, "")})
    return tmp_path


def volume(factor: float) -> float:
    """Integrate a factor over the unit cube."""
    cube = dolfinx.mesh.create_unit_cube(COMM, 2, 2, 2)
    one = fem.Constant(cube, 1.0)
    return float(COMM.allreduce(fem.assemble_scalar(form(factor * one * ufl.dx(cube)))))


def leave_unfinished(forms: Path) -> None:
    """Make all compiled forms look as if their compilers had been killed."""
    COMM.barrier()
    if COMM.rank == 0:
        for ready in forms.glob("*.c.cached"):
            ready.unlink()
    COMM.barrier()


def test_the_folder_of_forms_is_private_and_names_versions_and_cpu() -> None:
    folder = form_folder()
    assert dolfinx.__version__ in folder.name
    assert startup.cpu_name().split()[0].lower()[:5] in folder.name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_form_is_compiled_once(forms: Path) -> None:
    assert volume(2.5) == pytest.approx(2.5, rel=1e-14)
    assert volume(2.5) == pytest.approx(2.5, rel=1e-14)
    assert len(list(forms.glob("*.c.cached"))) == 1


def test_a_form_left_unfinished_by_a_dead_process_is_made_anew_at_once(forms: Path) -> None:
    volume(3.5)
    leave_unfinished(forms)
    began = time.monotonic()
    assert volume(3.5) == pytest.approx(3.5, rel=1e-14)
    assert time.monotonic() - began < 2.0, "without waiting for the form compiler's own limit"


def test_without_locks_the_form_is_made_anew_after_the_compilers_own_limit(
    forms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    volume(4.5)
    leave_unfinished(forms)
    monkeypatch.setattr(startup.fcntl, "flock", refuse)
    assert volume(4.5) == pytest.approx(4.5, rel=1e-14)


def test_a_failing_compiler_is_told_with_its_words() -> None:
    def fail() -> None:
        raise cffi.VerificationError("command 'gcc' failed")

    with pytest.raises(SetupError, match="command 'gcc' failed"):
        compile_retrying(fail, COMM)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    COMM.barrier()
    if COMM.rank == 0:
        (tmp_path / "file").touch()
    COMM.barrier()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SetupError, match="XDG_CACHE_HOME"):
        form_folder.__wrapped__()
