"""The rules, without Django or a database: matching, reasons, comparison, scope, counters."""
