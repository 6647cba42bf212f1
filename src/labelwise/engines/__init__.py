"""Runtimes that compute graphs and frozen backbones."""
