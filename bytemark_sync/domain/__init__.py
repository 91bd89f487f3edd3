"""The rules, free of Django and of any database: matching, reasons, comparison, scope, counters."""
