"""Stores the passes of riders' free Bytemark orders in the portal's database."""

__version__ = "1.0.0"
"""The one place of the number (tests/test_version.py). Whatever says it reads it here."""
