"""What is told of a run, by its kind. Each kind has one record, which holds all words and counts that differ.

What a kind does is its strategy (runs/strategy.py). No Django here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bytemark_sync.domain.counters import Counts, Found, done_of, many
from bytemark_sync.domain.run_scope import AuditScope, Scope

EVERYTHING = "all pending orders, including deferred"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run has counted, and what it has found."""

    counts: Counts
    orders_deferred: int
    users_planned: int
    found: Found

    @classmethod
    def of(cls, row: Any, found: Found) -> Figures:
        """Those of a run's row."""
        return cls(Counts.of(row), row.orders_deferred, row.users_planned, found)

    @property
    def users_done(self) -> str:
        """`5 of 12 users`."""
        return done_of(self.counts.users, self.users_planned, "user")


class KindRecord(ABC):
    """What a kind of run is called, and how its result is told."""

    scope_type: ClassVar[type[Scope] | type[AuditScope]]
    """What `SyncRun.scope` holds."""
    names_trigger: ClassVar[bool]
    """What asked for it is a part of its name, and a label of its metric. Otherwise the kind is."""
    has_findings: ClassVar[bool]
    """It reports findings in stored orders. Otherwise it leaves orders pending, each for a reason."""
    kept: ClassVar[str]
    """What a stop does not lose: half a sentence."""
    stop_words: ClassVar[str]
    """What a stop does: sentences, before it is asked for."""

    @abstractmethod
    def is_whole_job(self, scope: Mapping[str, Any]) -> bool:
        """Whether it takes all that is due, so that its result is that of the whole job."""

    @abstractmethod
    def subject(self, scope: Mapping[str, Any], *, is_named: bool) -> str:
        """What it takes, but for the users, orders and filters that its scope names. "" if these say it all."""

    @abstractmethod
    def summary(self, of: Figures) -> list[str]:
        """Its counts in words, for a line."""

    @abstractmethod
    def done(self, of: Figures) -> str:
        """What it has done, in a few words for a list."""

    @abstractmethod
    def headline(self, of: Figures) -> str:
        """Its result so far, in one or two sentences."""

    @abstractmethod
    def counts(self, of: Figures) -> list[tuple[str, int]]:
        """What it has counted, each with its label, but for what runs of all kinds count."""


class SyncRecord(KindRecord):
    scope_type = Scope
    names_trigger = True
    has_findings = False
    kept = "what is fetched is stored"
    stop_words = (
        "The run stops within seconds. What has been fetched is stored; everything else stays pending, and the next "
        "run takes it."
    )

    def is_whole_job(self, scope: Mapping[str, Any]) -> bool:
        return Scope.from_json(scope).is_everything

    def subject(self, scope: Mapping[str, Any], *, is_named: bool) -> str:
        if is_named:
            return ""
        return EVERYTHING if scope.get("include_deferred") else "all pending orders that are due"

    def summary(self, of: Figures) -> list[str]:
        return [
            f"{of.counts.orders_synced:,} of {many(of.counts.orders, 'order')} stored",
            f"{of.counts.orders_not_found:,} not listed",
            f"{of.counts.orders_without_passes:,} without passes",
            f"{of.counts.orders_invalid:,} malformed",
            f"{of.orders_deferred:,} deferred",
            many(of.counts.items_created, "item"),
        ]

    def done(self, of: Figures) -> str:
        return f"{many(of.counts.orders_synced, 'order')}, {many(of.counts.items_created, 'item')} stored"

    def headline(self, of: Figures) -> str:
        stored = f"{of.counts.orders_synced:,} of {many(of.counts.orders, 'order')} stored"
        return f"{of.users_done}, {stored}, {many(of.counts.users_failed, 'user')} failed."

    def counts(self, of: Figures) -> list[tuple[str, int]]:
        return [
            ("Items stored", of.counts.items_created),
            ("Orders stored", of.counts.orders_synced),
            ("Orders not listed", of.counts.orders_not_found),
            ("Orders without passes", of.counts.orders_without_passes),
            ("Orders malformed", of.counts.orders_invalid),
            ("Orders deferred", of.orders_deferred),
        ]


class AuditRecord(KindRecord):
    scope_type = AuditScope
    names_trigger = False
    has_findings = True
    kept = "the findings so far are kept"
    stop_words = "The audit stops within seconds. The findings so far are kept; a new audit begins anew."

    def is_whole_job(self, scope: Mapping[str, Any]) -> bool:
        return False

    def subject(self, scope: Mapping[str, Any], *, is_named: bool) -> str:
        return "audit of stored orders" + (", missing passes repaired" if scope.get("repair") else "")

    def summary(self, of: Figures) -> list[str]:
        return [
            f"{many(of.counts.orders, 'order')} audited",
            f"{many(of.found.total, 'finding')}, {of.found.repaired:,} repaired",
            f"{of.counts.orders_invalid:,} malformed",
        ]

    def done(self, of: Figures) -> str:
        mended = f", {many(of.counts.items_created, 'item')} added" if of.counts.items_created else ""
        return f"{many(of.counts.orders, 'order')} audited{mended}"

    def headline(self, of: Figures) -> str:
        repaired = f" ({of.found.repaired:,} repaired)" if of.found.repaired else ""
        audited, findings = f"{many(of.counts.orders, 'order')} audited", f"{many(of.found.total, 'finding')}{repaired}"
        words = f"{of.users_done}, {audited}, {findings}."
        if of.counts.users_failed:
            words += f" {many(of.counts.users_failed, 'user')} failed: their orders were not compared."
        return words

    def counts(self, of: Figures) -> list[tuple[str, int]]:
        return [
            ("Orders audited", of.counts.orders),
            ("Findings", of.found.total),
            ("Findings repaired", of.found.repaired),
            ("Items added", of.counts.items_created),
            ("Orders malformed, not compared", of.counts.orders_invalid),
        ]
