#!/bin/sh
# Build the image with docker, podman or buildah, whichever is there and works.
#   IMAGE             its name; bytemark-sync:latest
#   BASE_IMAGE        what it is made from; the Dockerfile's own
#   REQUIREMENTS      requirements-observability.txt: besides what sends to Sentry and by OpenTelemetry
#   ENGINE            docker, podman or buildah
#   PIP_CONF          a pip.conf for the build alone: an index or a certificate of your own
#   BUILD_OPTIONS     further options of the engine's build command
# buildah and podman take BUILDAH_ISOLATION=chroot where they may not make containers.
set -eu
cd "$(dirname "$0")/.."

works() {
    case $1 in
        docker) docker info >/dev/null 2>&1 ;;
        *) "$1" --version >/dev/null 2>&1 ;;
    esac
}
engine=${ENGINE:-}
if [ -z "$engine" ]; then
    for engine in docker podman buildah none; do
        if [ "$engine" = none ] || works "$engine"; then break; fi
    done
fi
case $engine in
    docker) set -- docker build ;;
    podman | buildah) set -- "$engine" build --format docker ;; # OCI's own format knows no HEALTHCHECK
    *) echo "image: neither docker nor podman nor buildah works here. Install one (Debian: apt-get install podman)." >&2; exit 1 ;;
esac
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' bytemark_sync/__init__.py)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
if [ -n "${BASE_IMAGE:-}" ]; then set -- "$@" --build-arg "BASE_IMAGE=$BASE_IMAGE"; fi
if [ -n "${REQUIREMENTS:-}" ]; then set -- "$@" --build-arg "REQUIREMENTS=$REQUIREMENTS"; fi
if [ -n "${PIP_CONF:-}" ]; then set -- "$@" --secret "id=pip.conf,src=$PIP_CONF"; fi
# shellcheck disable=SC2086
exec "$@" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" ${BUILD_OPTIONS:-} \
    --tag "${IMAGE:-bytemark-sync:latest}" .
