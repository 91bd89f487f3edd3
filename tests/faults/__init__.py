"""The fault campaign: seeded scenarios in which everything goes wrong, and the whole end state is checked.

`python -m tests.faults --help`; `make faults N=1000 SEED=1`.
"""
