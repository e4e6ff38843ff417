"""The words of a case as TOML, for cases that were built or varied in Python."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

Word = str | bool | int | float | list["Word"] | Mapping[str, "Word"]


def toml(words: Mapping[str, Word]) -> str:
    """Return nested tables and lists as TOML: a section for each table, with everything deeper on one line."""
    return "\n".join(_lines(words)) + "\n"


def _lines(words: Mapping[str, Word]) -> Iterator[str]:
    for key, value in words.items():
        if not isinstance(value, Mapping):
            yield f"{_key(key)} = {_inline(value)}"
    for key, value in words.items():
        if isinstance(value, Mapping):
            yield ""
            yield f"[{_key(key)}]"
            yield from (f"{_key(name)} = {_inline(inner)}" for name, inner in value.items())


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _inline(value: Word) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_inline(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(inner) for inner in value) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
