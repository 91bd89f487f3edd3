# One image for the web server, the cluster and every command (docs/containers.md).
# BASE_IMAGE: Debian 12 or later, or what is made of it.
ARG BASE_IMAGE=docker.io/library/debian:trixie-slim

FROM ${BASE_IMAGE} AS build
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev pkg-config \
        default-libmysqlclient-dev python3-dev python3-venv
# requirements-observability.txt: besides what sends to Sentry and by OpenTelemetry.
ARG REQUIREMENTS=requirements.txt
COPY requirements.txt requirements-observability.txt /srv/bytemark-sync/
# An index or a certificate of your own: --secret id=pip.conf,src=FILE. It stays out of the image.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        -r "/srv/bytemark-sync/$REQUIREMENTS" \
    && /opt/venv/bin/pip uninstall -y pip setuptools
COPY manage.py /srv/bytemark-sync/
COPY bytemark_sync /srv/bytemark-sync/bytemark_sync
COPY project /srv/bytemark-sync/project
COPY scripts/compose_settings.py /srv/bytemark-sync/scripts/
# Compiled here, for nothing can be written there. Settings may be mounted as the file /etc/bytemark-sync/env.
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /srv/bytemark-sync \
    && ln -s /etc/bytemark-sync/env /srv/bytemark-sync/.env

FROM ${BASE_IMAGE}
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libmariadb3 python3 tini tzdata \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/apt /var/log/dpkg.log \
    && groupadd --system --gid 10001 bytemark-sync \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin \
        bytemark-sync \
    && install -d -o 10001 -g 10001 /etc/bytemark-sync
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/bytemark-sync /srv/bytemark-sync
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    WEB_CONCURRENCY=2
WORKDIR /srv/bytemark-sync
USER 10001:10001
EXPOSE 8000
# The web server's. Switch it off for the cluster and for commands.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
# tini is PID 1: it passes SIGTERM on, also before Python listens to it, and takes in orphans.
ENTRYPOINT ["tini", "--"]
CMD ["gunicorn", "project.wsgi", "--bind", "0.0.0.0:8000", "--threads", "4", "--worker-tmp-dir", "/dev/shm"]

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bytemark-sync" \
    org.opencontainers.image.description="Stores the items of Bytemark transit ticket orders in the portal database" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
