"""Open a page in headless Chromium without a network, and say what it looks like and what its console says.

Where there is no Chromium a test that calls `require_browser` is reported as not run; with CI=true it fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

Box = tuple[int, int, int, int]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CONSOLE = re.compile(r":[A-Z]+:CONSOLE[:(]\d+\)?\]? ?(?P<text>.*)")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--use-gl=angle",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking",
    "--disable-component-update", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr", "--v=0",
)  # fmt: skip


class BrowserMissing(Exception):
    """There is no Chromium on this machine."""


@dataclass(frozen=True)
class Page:
    """A page as it was seen.

    Attributes:
        image: Pixels, shape (height, width, 3).
        console: Every message on the console; Chromium does not say which are errors, so a good page has none.
    """

    image: NDArray[np.uint8]
    console: tuple[str, ...]

    def crop(self, box: Box) -> NDArray[np.uint8]:
        """Return the pixels of left, top, right, bottom."""
        left, top, right, bottom = box
        return self.image[top:bottom, left:right]

    def distinct_colors(self, box: Box) -> int:
        """Return how many colors there are in a box."""
        return len(np.unique(self.crop(box).reshape(-1, 3), axis=0))

    def saturated_share(self, box: Box, contrast: int = 40) -> float:
        """Return the share of pixels in a box that are neither gray, white nor black."""
        pixels = self.crop(box).reshape(-1, 3).astype(np.int16)
        return float((np.ptp(pixels, axis=1) > contrast).mean())


def chromium() -> str:
    """Return the program.

    Raises:
        BrowserMissing: There is none.
    """
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    if found is None:
        raise BrowserMissing("Chromium is not installed (Debian: apt-get install chromium)")
    return found


def require_browser() -> None:
    """Report the calling test as not run where there is no Chromium; with CI=true let it fail."""
    try:
        chromium()
    except BrowserMissing as missing:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(f"not run: {missing}")


def open_page(
    path: Path, *, width: int = 1200, height: int = 1400, budget: int = 10000, shot: Path | None = None
) -> Page:
    """Open a file with every host name unresolvable, wait, and look.

    Args:
        path: The page.
        width: Of the window [pixel].
        height: Of the window [pixel], at most 8000; what is below is not seen.
        budget: How long the page's own clock runs before the picture is taken [ms].
        shot: Where to keep the picture.

    Raises:
        BrowserMissing: There is no Chromium.
    """
    from PIL import Image

    with tempfile.TemporaryDirectory() as place:
        picture = shot or Path(place) / "page.png"
        words = [chromium(), *_FLAGS, f"--user-data-dir={place}/profile", f"--virtual-time-budget={budget}"]
        words += [f"--window-size={width},{height}", f"--screenshot={picture}", path.resolve().as_uri()]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=180, check=False)
        if not picture.exists():
            raise AssertionError(f"Chromium took no picture of {path} (exit {done.returncode}): {done.stderr[-2000:]}")
        with Image.open(picture) as opened:
            image = np.asarray(opened.convert("RGB"), dtype=np.uint8)
    console = tuple(match["text"] for match in map(_CONSOLE.search, done.stderr.splitlines()) if match)
    return Page(image, console)
