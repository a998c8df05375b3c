#!/bin/sh
# Installs what the end-to-end tests need: programs of Debian, packages of PyPI and
# npm. Does nothing when all of it is there. Needs Node.js 20 and Python 3.11.
set -eu
cd "$(dirname "$0")"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing=
need() {
    PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null || missing="$missing ${2:-$1}"
}
need apache2 apache2-bin
need busybox
need caddy
need chromium
need curl
need h2load nghttp2-client
need haproxy
need ip iproute2
need nginx
need php php-cli
need promtool prometheus
need slowhttptest
need uwsgi_python3 uwsgi-plugin-python3
need wrk
# The name of this one has a version in it, and Tomcat is no program.
ls /usr/sbin/php-fpm* >/dev/null 2>&1 || missing="$missing php-fpm"
[ -e /usr/share/tomcat10/bin/bootstrap.jar ] || missing="$missing tomcat10-common"
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    as_root apt-get update
    # shellcheck disable=SC2086  # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends $missing
fi

wanted=$(cat install.sh requirements.txt package-lock.json | sha256sum)
installed=$(cat .cache/installed 2>/dev/null || true)
if [ "$installed" != "$wanted" ] || [ ! -e .cache/venv/bin/pytest ] || [ ! -e node_modules ]; then
    rm -f .cache/installed
    python3 -m venv --clear .cache/venv
    .cache/venv/bin/pip install --quiet --requirement requirements.txt
    npm ci --ignore-scripts --no-audit --no-fund
    echo "$wanted" >.cache/installed
fi
