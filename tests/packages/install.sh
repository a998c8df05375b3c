#!/bin/sh
# Installs what the tests of packages need, from Debian and PyPI; and podman, as the tests of pods do.
set -eu
cd "$(dirname "$0")"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

../pods/install.sh
missing=
for program in fish git lintian zsh; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
command -v man >/dev/null || missing="$missing man-db"
command -v readelf >/dev/null || missing="$missing binutils"
[ -x /sbin/ip ] || [ -x /bin/ip ] || missing="$missing iproute2"
if [ -n "$missing" ]; then
    as_root apt-get update
    # shellcheck disable=SC2086  # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends $missing
fi

wanted=$(sha256sum <requirements.txt)
if [ "$(cat .cache/installed 2>/dev/null || true)" != "$wanted" ]; then
    mkdir -p .cache
    python3 -m venv --clear .cache/venv
    .cache/venv/bin/pip install --quiet --requirement requirements.txt
    echo "$wanted" >.cache/installed
fi
