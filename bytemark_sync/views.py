"""`/healthz` for everybody, its figures and `/metrics` for whoever has `METRICS_TOKEN` (docs/contract.md#http)."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from bytemark_sync.monitoring import health as job
from bytemark_sync.monitoring import metrics as prometheus


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 if the job is healthy, else 503. The body says which part is not; to whoever has the token, why."""
    now = job.look()
    body = now.in_full() if _has_token(request) else now.in_brief()
    return JsonResponse(body, status=200 if now.healthy else 503, json_dumps_params={"indent": 1})


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text; 404 while `METRICS_TOKEN` is unset, 401 for any other token."""
    if not settings.METRICS_TOKEN:
        raise Http404
    if not _has_token(request):
        return HttpResponse("Unauthorized\n", status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(prometheus.text(), content_type=CONTENT_TYPE_LATEST)


def _has_token(request: HttpRequest) -> bool:
    """Whether the request may know of runs and orders. Nobody may while `METRICS_TOKEN` is unset."""
    given = request.headers.get("Authorization", "").encode()
    token: str = settings.METRICS_TOKEN
    return bool(token) and secrets.compare_digest(given, f"Bearer {token}".encode())
