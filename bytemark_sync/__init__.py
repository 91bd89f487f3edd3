"""Stores the passes of riders' free Bytemark orders in the portal's database."""

__version__ = "0.1.0"
"""The one place of the number: `pyproject.toml` and the `User-Agent` read it here."""
