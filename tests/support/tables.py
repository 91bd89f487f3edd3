"""Every table that a campaign empties between two scenarios."""

from __future__ import annotations

from django.apps import apps
from django.db.models import Model
from django_q.models import OrmQ, Schedule, Task


def all_tables() -> list[type[Model]]:
    """The portal's and ours, and the queue's of django-q2. What refers to others comes before what it refers to."""
    ours = [model for model in apps.get_app_config("bytemark_sync").get_models() if not model._meta.proxy]
    return [*sorted(ours, key=lambda model: not _refers(model)), OrmQ, Task, Schedule]


def _refers(model: type[Model]) -> bool:
    return any(field.remote_field for field in model._meta.local_fields)
