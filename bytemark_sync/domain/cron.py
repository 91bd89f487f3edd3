"""Cron expressions of five fields: which are valid, and when one is due next. The setting and the admin use this."""

from __future__ import annotations

from datetime import datetime

from croniter import CroniterBadDateError, croniter

FIELDS = 5
MAX_LENGTH = 100
"""The longest expression that a schedule's row can hold."""


def next_due(expression: str, after: datetime) -> datetime:
    """The first time after `after`, in its zone, that the expression names.

    Raises ValueError, in words for a person, if it is no expression or names a date that never comes.
    """
    if len(expression.split()) != FIELDS or len(expression) > MAX_LENGTH:
        raise ValueError("Five fields are needed: minute, hour, day of the month, month, day of the week.")
    try:
        due: datetime = croniter(expression, after).get_next(datetime)
    except CroniterBadDateError:
        raise ValueError("This date never comes, so no run would ever be due.") from None
    except (ValueError, KeyError, AttributeError):
        raise ValueError("Not a valid cron expression.") from None
    return due
