"""Bytemark's order API: one GET, one page. Free of Django."""

VERSION = "0.1.0"
