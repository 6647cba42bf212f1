"""Additional loss terms: each can be combined with any method."""
