"""Settings of experiments, and tables of their results."""
