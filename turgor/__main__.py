"""`python -m turgor` is `turgor`."""

from __future__ import annotations

import sys

from turgor.cli import main

if __name__ == "__main__":
    sys.exit(main())
