"""What turgor says when something is wrong: one family of errors that speak to the person with the case file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TurgorError(Exception):
    """Base of all errors that turgor raises on purpose; the message is for the user."""

    exit_code = 2


class CaseError(TurgorError):
    """The case file, or something it names, is wrong."""


class SegmentationError(TurgorError):
    """The label image or the surfaces cannot be meshed as asked."""


class MeshQualityError(TurgorError):
    """A mesh exists but cannot be trusted."""


class SetupError(TurgorError):
    """Something on this machine is missing or broken."""


class NotConverged(TurgorError):
    """A solver did not reach its tolerance."""

    exit_code = 1


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known name, or an empty text."""
    folded = {word.casefold(): word for word in known}
    match = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.55)
    return f" Did you mean {folded[match[0]]!r}?" if match else ""


def listed(complaints: Iterable[str]) -> str:
    """Join complaints into one message, one a line when there are several."""
    lines = list(dict.fromkeys(complaints))
    if len(lines) == 1:
        return lines[0]
    return f"{len(lines)} complaints:\n" + "\n".join(f"  - {line}" for line in lines)
