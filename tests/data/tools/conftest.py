"""Scripts that wrote the fixtures need packages of other versions than ours: they are no tests."""

collect_ignore_glob = ["write_*.py"]
