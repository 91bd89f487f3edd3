"""The list of runs, the page of a run, which updates itself, and the buttons "stop" and "retry the failed users"."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.views.decorators.cache import never_cache
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from bytemark_sync.admin.daily_run import daily_view
from bytemark_sync.admin.labels import duration, moment, progress, run_seconds, status_badge
from bytemark_sync.admin.limit_page import limit_live_view, limit_view
from bytemark_sync.admin.read_only import RESYNC, ReadOnlyAdmin, user_id_of
from bytemark_sync.admin.resync import Wanted, failures_of
from bytemark_sync.admin.run_page import RunPage, run_page
from bytemark_sync.admin.run_results import results
from bytemark_sync.models import SyncRun
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.queue.requests import request_stop


@admin.register(SyncRun)
class SyncRunAdmin(ReadOnlyAdmin):
    """Newest first."""

    list_display = ("name", "trigger", "who", "state", "progress_bar", "created", "took", "done", "remaining")
    list_filter = tuple((name, ChoicesDropdownFilter) for name in ("status", "kind", "trigger"))
    search_fields = ("pk__exact",)
    search_help_text = "number of the run"
    when_empty = "The daily run makes the first one, or a resync of pending orders."
    ordering = ("-pk",)
    change_form_outer_before_template = "bytemark_sync/run.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path("daily/", view(daily_view), name="bytemark_sync_syncrun_daily"),
            path("limit/", view(limit_view), name="bytemark_sync_syncrun_limit"),
            path("limit/live/", never_cache(limit_live_view), name="bytemark_sync_syncrun_limit_live"),
            path("<int:run_id>/live/", never_cache(self.live_view), name="bytemark_sync_syncrun_live"),
            path("<int:run_id>/stop/", view(self.stop_view), name="bytemark_sync_syncrun_stop"),
        ]
        urls: list[URLPattern] = [*own, *super().get_urls()]
        return urls

    def prepare(self, rows: list[Any]) -> None:
        found = results(rows)
        for run in rows:
            run.result = found[run.pk]

    def search(self, queryset: Any, term: str) -> Any:
        run_id = user_id_of(term.lower().removeprefix("run").removeprefix("audit").strip())
        return queryset.none() if run_id is None else queryset.filter(pk=run_id)

    def title_of(self, row: SyncRun) -> str:
        return capfirst(str(row))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        run = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if run is not None and self.has_view_permission(request):
            context["page"] = self._page(request, run)
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    def live_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """The parts of the page that change. Once the run has ended, they no longer ask for updates."""
        if not self.admin_site.has_permission(request):  # logged out: reload the whole page, not only this part
            return HttpResponse(headers={"HX-Refresh": "true"})
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = get_object_or_404(SyncRun, pk=run_id)
        part = "run_request" if request.GET.get("part") == "request" else "run_changes"
        return TemplateResponse(request, f"bytemark_sync/{part}.html", {"page": self._page(request, run)})

    def stop_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """GET asks for confirmation. POST asks the run to stop and records who asked."""
        if request.method not in ("GET", "POST"):
            return HttpResponseNotAllowed(["GET", "POST"])
        if not request.user.has_perm(RESYNC):
            raise PermissionDenied
        run = get_object_or_404(SyncRun, pk=run_id)
        page = self._page(request, run)
        if request.method == "GET" and page.stop_url:
            back = reverse("admin:bytemark_sync_syncrun_change", args=[run.pk])
            context = {**self.admin_site.each_context(request), "title": f"Stop {run}"}
            runs = (capfirst(self.things), reverse("admin:bytemark_sync_syncrun_changelist"))
            context |= {"run": run, "page": page, "back_url": back, "above": [runs, (self.title_of(run), back)]}
            return TemplateResponse(request, "bytemark_sync/stop.html", context)
        if request.method == "POST" and request_stop(run.pk, requested_by=request.user.get_username()):
            kept = run.kind_record.kept
            messages.success(request, f"The {run.get_kind_display()} stops within seconds; {kept}.")
        else:
            messages.info(request, "The run has ended, or was asked to stop before.")
        return redirect("admin:bytemark_sync_syncrun_change", run.pk)

    def _page(self, request: HttpRequest, run: SyncRun) -> RunPage:
        may = request.user.has_perm(RESYNC)
        alive = run.status in ALIVE
        may_stop = may and alive and not run.stop_requested
        return run_page(
            run,
            live_url=reverse("admin:bytemark_sync_syncrun_live", args=[run.pk]),
            stop_url=reverse("admin:bytemark_sync_syncrun_stop", args=[run.pk]) if may_stop else "",
            retry_url=Wanted(failed_of=run.pk).url() if may and not alive and _has_failed(run) else "",
        )

    @admin.display(description="Run", ordering="pk")
    def name(self, run: SyncRun) -> str:
        return str(run)

    @admin.display(description="Requested by")
    def who(self, run: SyncRun) -> str:
        return run.requested_by or "-"

    @admin.display(description="Status")
    def state(self, run: SyncRun) -> SafeString:
        return status_badge(run)

    @admin.display(description="Progress")
    def progress_bar(self, run: SyncRun) -> SafeString | str:
        return progress(run)

    @admin.display(description="Requested at")
    def created(self, run: SyncRun) -> SafeString | str:
        return moment(run.created_at)

    @admin.display(description="Took")
    def took(self, run: SyncRun) -> str:
        return duration(run_seconds(run))

    @admin.display(description="Result")
    def done(self, run: Any) -> str:
        return str(run.result.done)

    @admin.display(description="Remaining")
    def remaining(self, run: Any) -> SafeString | str:
        left: SafeString | str = run.result.remaining
        return left


def _has_failed(run: SyncRun) -> bool:
    return failures_of(run.pk).exists()
