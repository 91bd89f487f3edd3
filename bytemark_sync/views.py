"""`/healthz` for everybody, `/metrics` for whoever has the token (docs/contract.md#http)."""

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
    """200 if the job is healthy, else 503. The body says why."""
    now = job.look()
    return JsonResponse(now.as_dict(), status=200 if now.healthy else 503, json_dumps_params={"indent": 1})


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text; 404 while `METRICS_TOKEN` is unset, 401 for any other token."""
    if not settings.METRICS_TOKEN:
        raise Http404
    given = request.headers.get("Authorization", "")
    if not secrets.compare_digest(given.encode(), f"Bearer {settings.METRICS_TOKEN}".encode()):
        return HttpResponse("Unauthorized\n", status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(prometheus.text(), content_type=CONTENT_TYPE_LATEST)
