"""Before anything is downloaded, one sentence says what a machine lacks and how to get it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "preflight.sh"


def preflight(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the check with changes to the environment."""
    setting = {**os.environ, **environment}
    return subprocess.run(["sh", SCRIPT, *words], capture_output=True, text=True, env=setting, check=False, timeout=60)


def test_a_machine_that_has_everything_gets_a_python_that_runs() -> None:
    done = preflight()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    version = subprocess.run(
        [done.stdout.strip(), "-c", "import sys; print(sys.version_info >= (3, 12))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout == "True\n"


def test_all_that_is_missing_is_told_in_one_line() -> None:
    done = preflight(PYTHON="no-such-python", CC="no-such-compiler")
    assert done.returncode == 1
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    assert "Python 3.12" in sentence
    assert "no-such-compiler" in sentence
    assert "apt-get install -y" in sentence


def test_the_packages_that_are_missing_can_be_listed() -> None:
    done = preflight("--packages", CC="no-such-compiler")
    assert done.returncode == 0
    assert {"gcc", "libc6-dev"} <= set(done.stdout.split())


@pytest.mark.parametrize(
    ("program", "answer", "words"),
    [
        ("uname", "Darwin arm64", "conda"),
        ("getconf", "glibc 2.31", "glibc 2.34 or newer"),
    ],
)
def test_a_system_that_the_packages_are_not_made_for_is_refused(
    program: str, answer: str, words: str, tmp_path: Path
) -> None:
    fake = tmp_path / program
    fake.write_text(f"#!/bin/sh\necho {answer}\n")
    fake.chmod(0o755)
    done = preflight(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert words in sentence


def test_a_version_managers_shim_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'version 3.12 is not installed' >&2\nexit 127\n")
    shim.chmod(0o755)
    done = preflight(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() != str(shim)
