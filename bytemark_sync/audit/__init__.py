"""Audits: chooses stored orders, compares them with Bytemark's list and records the differences."""
