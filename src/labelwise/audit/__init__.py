"""Audit of annotations with scores of models that never saw them."""
