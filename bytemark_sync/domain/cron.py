"""Cron expressions of five fields: what is one, and when it is due next. The setting and the admin share this rule."""

from __future__ import annotations

from datetime import datetime

from croniter import CroniterBadDateError, croniter

FIELDS = 5
MAX_LENGTH = 100
"""What a schedule's row holds."""


def next_due(expression: str, after: datetime) -> datetime:
    """The first time after `after`, in its zone, that the expression names.

    ValueError, in words for a person, for what is not an expression or names a date that never comes.
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
