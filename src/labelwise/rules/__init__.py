"""Rules of a label set: a dog is an animal, exactly one of these, never two of these."""

from typing import TYPE_CHECKING

from labelwise.lazy import names_of

if TYPE_CHECKING:
    from labelwise.rules.file import ancestors_of as ancestors_of
    from labelwise.rules.file import read_rules as read_rules
    from labelwise.rules.indexed import IndexedRules as IndexedRules
    from labelwise.rules.rules import Rules as Rules
    from labelwise.rules.search import Search as Search

_HOME = {
    "IndexedRules": "indexed",
    "Rules": "rules",
    "Search": "search",
    "ancestors_of": "file",
    "read_rules": "file",
}
__all__ = sorted(_HOME)
__getattr__ = names_of(__name__, _HOME)
