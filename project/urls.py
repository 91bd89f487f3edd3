"""`/` leads to the admin; `/healthz` and `/metrics` are for monitors (docs/contract.md#http)."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from bytemark_sync import views

apps = {model._meta.app_label for model in admin.site._registry}

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/", permanent=False)),
    # The sidebar leads to every page. Django's pages of an app would list the same pages under other names.
    *(path(f"admin/{app}/", RedirectView.as_view(pattern_name="admin:index")) for app in sorted(apps)),
    path("admin/", admin.site.urls),
    path("healthz", views.healthz),
    path("metrics", views.metrics),
]
