"""The commands: `python -m experiments.NAME`; each docstring says what it does."""
