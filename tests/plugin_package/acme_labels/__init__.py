"""Parts of Labelwise in a package of their own, one of each kind."""
