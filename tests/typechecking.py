"""The runtime type checker of the tests: a whole number passes where a float is asked for, as in Python's own typing."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
