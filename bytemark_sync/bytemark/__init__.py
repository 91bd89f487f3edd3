"""Bytemark's order API: one GET, one page. Free of Django."""
