"""Every setting, read once from the environment or from `.env` beside `manage.py` (docs/contract.md#settings).

A value that cannot be used raises `ImproperlyConfigured`, which names the variable. `manage.py` prints that as one line
and ends with status 2. The `BYTEMARK_*` values become one frozen `BytemarkSettings`; the API client sees nothing else.
"""

from __future__ import annotations

import multiprocessing
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import environ
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured

from bytemark_sync.bytemark.config import API_DEFAULTS
from project.admin_theme import unfold
from project.database import database, portal_database
from project.env import boolean, choice, cron, decimal, dsn, integer, rate, redis_url, site, text, text_list

BASE_DIR = Path(__file__).resolve().parent.parent
try:
    environ.Env.read_env(BASE_DIR / ".env")
except (OSError, ValueError):  # its text may repeat a value
    raise ImproperlyConfigured(
        f"{BASE_DIR / '.env'} cannot be read: it must be text in UTF-8, NAME=value a line."
    ) from None

# --- Django's usual -------------------------------------------------------------------------------------------------
DEBUG = boolean("DEBUG", False)
SECRET_KEY = text("SECRET_KEY", "")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. Set it to a long random text"
            " (python -c 'import secrets; print(secrets.token_urlsafe(50))'), or set DEBUG=1 on a laptop."
        )
    SECRET_KEY = "insecure-laptop-key-" + "0" * 40  # only ever with DEBUG on
elif len(SECRET_KEY) < 32:
    raise ImproperlyConfigured(
        "SECRET_KEY: 32 characters or more are needed, for it signs logins and queued tasks"
        " (python -c 'import secrets; print(secrets.token_urlsafe(50))')."
    )
ALLOWED_HOSTS = text_list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
CSRF_TRUSTED_ORIGINS = text_list("CSRF_TRUSTED_ORIGINS", [])
SITE_URL = site("SITE_URL")
PROJECT_NAME = text("PROJECT_NAME", "connectsmart")
PROJECT_STAGE = text("PROJECT_STAGE", "production")
TIME_ZONE = text("TIME_ZONE", "UTC")
try:
    ZoneInfo(TIME_ZONE)
except (KeyError, ValueError, OSError):
    raise ImproperlyConfigured(
        f"TIME_ZONE: {TIME_ZONE!r} is no time zone name, such as UTC or Europe/Berlin."
    ) from None

INSTALLED_APPS = [
    "bytemark_sync",  # before the admin and django-unfold, because it extends some of their templates
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_q",
    "axes",
    "csp",
]
MIDDLEWARE = [
    "project.head_answers.WithoutBody",
    "bytemark_sync.monitoring.probes.Probes",  # above what asks for a host name, https or a session
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "axes.middleware.AxesMiddleware",  # last, because it turns a refused login into its own answer
]
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
USE_TZ = True
LANGUAGE_CODE = "en-us"
FORMAT_MODULE_PATH = "project.formats"
SILENCED_SYSTEM_CHECKS = ["models.W037"]  # MariaDB makes a whole index of django-q2's partial one: it serves as well
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Static files ---------------------------------------------------------------------------------------------------
# Served by this process from the installed packages, so no `collectstatic` can be forgotten or out of date.
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 600

# --- Security -------------------------------------------------------------------------------------------------------
# `SITE_URL` says how people reach the admin. With https:// everything goes over TLS; the proxy that ends TLS must set
# X-Forwarded-Proto itself (README: production). Monitors ask the two exempt paths by plain http.
HTTPS = SITE_URL.startswith("https://")
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz/?$", r"^metrics/?$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 3600  # a working day
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
X_FRAME_OPTIONS = "DENY"

# As strict as the admin can work under: Alpine, which django-unfold ships, evaluates expressions (unsafe-eval), and its
# progress bars carry their width in a style attribute. No inline script, no inline style sheet, nothing from elsewhere.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF],
        "style-src-attr": [UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# Five wrong passwords for a name from an address close that pair for a quarter of an hour; `manage.py axes_reset` or
# the admin's "Login attempts" opens it again.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_TEMPLATE = "bytemark_sync/locked_out.html"
AXES_VERBOSE = False
# Behind a proxy every request has the proxy's address. Five wrong passwords of one person would lock out everybody.
TRUSTED_PROXIES = integer("TRUSTED_PROXIES", 0, minimum=0, maximum=16)
AXES_CLIENT_IP_CALLABLE = "project.trusted_proxies.client_address"
DEFAULT_EXCEPTION_REPORTER_FILTER = "project.debug.HidesSecrets"

UNFOLD = unfold(PROJECT_NAME, PROJECT_STAGE)

# --- Database -------------------------------------------------------------------------------------------------------

DATABASES = {"default": database(text("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}"), BASE_DIR)}
PORTAL_DATABASE = portal_database(text("PORTAL_DATABASE", ""), DATABASES["default"])

# --- Bytemark -------------------------------------------------------------------------------------------------------
# The base URL may be missing here: `migrate` and the admin work without it. The command, the worker and the system
# checks ask `bytemark_sync.runs.client_settings`, which names what is wrong.
BYTEMARK_CUSTOMER_API_URL = text("BYTEMARK_CUSTOMER_API_URL", "")
BYTEMARK_ORDERS_PATH = text("BYTEMARK_ORDERS_PATH", API_DEFAULTS["orders_path"])
BYTEMARK_PAGE_SIZE = integer("BYTEMARK_PAGE_SIZE", API_DEFAULTS["page_size"], minimum=1, maximum=1000)
BYTEMARK_MAX_ATTEMPTS = integer("BYTEMARK_MAX_ATTEMPTS", API_DEFAULTS["max_attempts"], minimum=1, maximum=100)
BYTEMARK_WORKERS = integer("BYTEMARK_WORKERS", 16, minimum=1, maximum=512)
BYTEMARK_CONNECT_TIMEOUT = decimal("BYTEMARK_CONNECT_TIMEOUT", API_DEFAULTS["connect_timeout"], above=0)
BYTEMARK_READ_TIMEOUT = decimal("BYTEMARK_READ_TIMEOUT", API_DEFAULTS["read_timeout"], above=0)
BYTEMARK_REQUEST_DEADLINE = decimal("BYTEMARK_REQUEST_DEADLINE", API_DEFAULTS["request_deadline"], above=0)
BYTEMARK_BACKOFF_BASE = decimal("BYTEMARK_BACKOFF_BASE", API_DEFAULTS["backoff_base"])
BYTEMARK_BACKOFF_CAP = decimal("BYTEMARK_BACKOFF_CAP", API_DEFAULTS["backoff_cap"])
BYTEMARK_REQUESTS_PER_SECOND = rate("BYTEMARK_REQUESTS_PER_SECOND")
BYTEMARK_OUTAGE_PATIENCE = decimal("BYTEMARK_OUTAGE_PATIENCE", API_DEFAULTS["outage_patience"], above=0)
BYTEMARK_ACCOUNT_API_URL = text("BYTEMARK_ACCOUNT_API_URL", "")
BYTEMARK_LOGIN_PATH = text("BYTEMARK_LOGIN_PATH", API_DEFAULTS["login_path"])
BYTEMARK_CLIENT_ID = text("BYTEMARK_CLIENT_ID", "")
BYTEMARK_CLIENT_SECRET = text("BYTEMARK_CLIENT_SECRET", "")

# --- Slack ----------------------------------------------------------------------------------------------------------
SLACK_BOT_TOKEN = text("SLACK_BOT_TOKEN", "")
SLACK_CHANNEL_ID = text("SLACK_CHANNEL_ID", "")
SLACK_API_URL = text("SLACK_API_URL", "https://slack.com/api/")

# --- Monitoring -----------------------------------------------------------------------------------------------------
METRICS_TOKEN = text("METRICS_TOKEN", "")
SENTRY_DSN = dsn("SENTRY_DSN")
# OpenTelemetry's own names. Its packages read these and their others (OTEL_*) from the environment themselves.
OTEL_EXPORTER_OTLP_ENDPOINT = text("OTEL_EXPORTER_OTLP_ENDPOINT", "")
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
OTEL_TRACES_EXPORTER = choice("OTEL_TRACES_EXPORTER", "", ("", "otlp", "console", "none"))
OTEL_EXPORTER_OTLP_TIMEOUT = decimal("OTEL_EXPORTER_OTLP_TIMEOUT", 3, above=0)
OTEL_SERVICE_NAME = text("OTEL_SERVICE_NAME", "bytemark-sync")
OTEL_SDK_DISABLED = boolean("OTEL_SDK_DISABLED", False)

# --- The queue ------------------------------------------------------------------------------------------------------
REDIS_URL = redis_url("REDIS_URL")
SYNC_CRON = cron("SYNC_CRON", "0 3 * * *")
SYNC_BATCH_USERS = integer("SYNC_BATCH_USERS", 500, minimum=1, maximum=100_000)
SYNC_HEARTBEAT_LIMIT = decimal("SYNC_HEARTBEAT_LIMIT", 900, above=0)
SYNC_RETENTION_DAYS = integer("SYNC_RETENTION_DAYS", 90, minimum=1, maximum=36_500)

# Every value here keeps a task from being started twice, repeated for ever or lost in memory
# (docs/decisions/0005-queue-arithmetic.md); tests/queue/test_arithmetic.py fails for a combination that does not.
Q_CLUSTER: dict[str, Any] = {
    "name": "bytemark_sync",
    "label": "Queue",
    **({"redis": REDIS_URL} if REDIS_URL else {"orm": "default"}),
    "workers": 4,  # batches side by side in one cluster; each fetches BYTEMARK_WORKERS users at once
    "timeout": 1800,  # seconds; after half of it a batch hands back the users that it has not done
    "retry": 4200,  # counted from leaving the broker, so it must be longer than waiting in memory plus running
    "queue_limit": 1,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "poll": 0.5,  # seconds between two looks into the database, where that is the broker
    "recycle": 100,  # tasks, after which a worker process is replaced
    "save_limit": 250,
}

# django-q2 forks its processes, but makes locks for multiprocessing's default, and some as soon as it is imported. From
# Python 3.14 on the default is another: each command, web server and cluster would start a process that watches locks.
if "fork" in multiprocessing.get_all_start_methods():
    multiprocessing.set_start_method("fork", force=True)

# --- Logging --------------------------------------------------------------------------------------------------------
LOG_FORMAT = choice("LOG_FORMAT", "text", ("text", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
        },
    },
    "filters": {
        "fields": {"()": "bytemark_sync.monitoring.logs.WithFields"},
        "task": {"()": "bytemark_sync.monitoring.logs.WithTask"},
        # Statements hold riders' tokens, so the log of the database shows them without values.
        "without_values": {"()": "bytemark_sync.monitoring.logs.WithoutValues"},
    },
    "handlers": {
        "stderr": {
            "class": "bytemark_sync.monitoring.logs.StderrHandler",
            "formatter": LOG_FORMAT,
            "filters": ["fields"],
        }
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "bytemark_sync": {"level": "INFO"},
        "django": {"level": "INFO", "handlers": ["stderr"], "propagate": False},
        "django.db.backends": {"filters": ["without_values"]},
        "django-q": {"level": "INFO", "handlers": ["stderr"], "filters": ["task"], "propagate": False},
    },
}
