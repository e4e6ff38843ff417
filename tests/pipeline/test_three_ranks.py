"""The verification on three ranks: the same case in other units, and the same digits of the page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from turgor.launch import environment, mpirun


def test_three_ranks_give_what_the_page_says() -> None:
    words = ["-m", "pytest", "--quiet", "-p", "no:cacheprovider", "tests/verification/test_flow_units.py"]
    done = subprocess.run(
        [mpirun(), "-n", "3", sys.executable, *words],
        cwd=Path(__file__).parents[2],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
