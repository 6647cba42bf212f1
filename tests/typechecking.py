"""The runtime type checker of the tests: whole numbers pass for floats, as in Python's own typing."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
