"""Logins at Bytemark's account API by which riders' tokens are renewed."""

from __future__ import annotations

from django.db import models


class LoginState(models.TextChoices):
    """What became of the last login."""

    ASKED = "asked", "under way"
    RENEWED = "renewed"
    REFUSED = "refused"
    UNANSWERED = "unanswered", "not answered"


class RiderLogin(models.Model):
    """The last login for a rider. It is claimed here before it is sent, so that no two processes log the rider in."""

    user_id = models.BigIntegerField(primary_key=True)
    run_id = models.BigIntegerField(null=True, help_text="The run that last asked; a run asks at most once for a user.")
    state = models.CharField(max_length=16, choices=LoginState.choices)
    cause = models.CharField(max_length=20, blank=True)
    detail = models.CharField(max_length=500, blank=True)
    asked_at = models.DateTimeField(null=True, help_text="When the last login was asked for.")
    renewed_at = models.DateTimeField(null=True, help_text="When a login last gave a token.")
    renewals = models.PositiveIntegerField(default=0, help_text="How often a login has given a token.")
    refused_at = models.DateTimeField(null=True, help_text="When a login was last refused.")
    next_at = models.DateTimeField(
        null=True, help_text="A refused login is not repeated before, unless the fingerprint changes."
    )
    deferred_days = models.PositiveSmallIntegerField(default=0, help_text="The last wait; the next one is twice that.")
    fingerprint = models.CharField(max_length=32, blank=True, help_text="Keyed hash of what the login was asked with.")

    class Meta:
        db_table = "bytemark_sync_login"

    def __str__(self) -> str:
        return f"rider {self.user_id}: {self.get_state_display()}"
