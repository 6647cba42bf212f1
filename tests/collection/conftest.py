"""The fixtures of this folder."""

from written import embedded  # noqa: F401
