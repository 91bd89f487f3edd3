"""Audits: which stored orders are looked at, and what is found wrong with them."""
