"""Fetching over HTTP: one user's orders, and the pool of threads. Free of Django."""
