"""`/` leads to the admin; `/healthz` and `/metrics` are for monitors (docs/contract.md#http)."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from bytemark_sync import views

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/", permanent=False)),
    path("admin/", admin.site.urls),
    path("healthz", views.healthz),
    path("metrics", views.metrics),
]
