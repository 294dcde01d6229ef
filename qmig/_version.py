"""The version, alone in a module so that `qmig --version` loads nothing else."""

__version__ = "0.1.0.dev0"
