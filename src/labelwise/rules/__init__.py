"""Rules of a label set: a dog is an animal, exactly one of these, never two of these."""

from labelwise.rules.file import ancestors_of, read_rules
from labelwise.rules.indexed import IndexedRules
from labelwise.rules.rules import Rules
from labelwise.rules.search import Search

__all__ = ["IndexedRules", "Rules", "Search", "ancestors_of", "read_rules"]
