"""A run from start to end: its states, its engine and what it writes."""
