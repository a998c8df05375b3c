#!/bin/sh
# Installs what the tests of images and pods need: podman from Debian, packages of
# PyPI. Does nothing when all of it is there. kubectl has to be there already, as
# Debian's is too old for Kustomize's components.
set -eu
cd "$(dirname "$0")"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing=
for program in catatonit podman runc; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
for helper in netavark aardvark-dns; do
    [ -x "/usr/lib/podman/$helper" ] || missing="$missing $helper"
done
command -v iptables >/dev/null || [ -x /usr/sbin/iptables ] || missing="$missing iptables"
command -v systemd-analyze >/dev/null || missing="$missing systemd"
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    as_root apt-get update
    # shellcheck disable=SC2086  # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends $missing
fi

if ! command -v kubectl >/dev/null && ! command -v kustomize >/dev/null; then
    echo "install kubectl (1.21 or later) or kustomize: https://kubernetes.io/docs/tasks/tools/" >&2
    exit 1
fi

wanted=$(cat install.sh requirements.txt | sha256sum)
installed=$(cat .cache/installed 2>/dev/null || true)
if [ "$installed" != "$wanted" ] || [ ! -e .cache/venv/bin/pytest ]; then
    rm -f .cache/installed
    python3 -m venv --clear .cache/venv
    .cache/venv/bin/pip install --quiet --requirement requirements.txt
    echo "$wanted" >.cache/installed
fi
