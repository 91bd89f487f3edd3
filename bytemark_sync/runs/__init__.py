"""A run from opening to closing: its states, its engine, what it writes."""
