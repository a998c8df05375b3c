#!/bin/sh
# Tests what is released: the Debian package, the archive, man pages and completions. Arguments go to pytest. SSE_SIDECAR_BIN names
# the binary, which must be static; else it is built. As root.
set -eu
cd "$(dirname "$0")"

./install.sh
if [ -z "${SSE_SIDECAR_BIN:-}" ]; then
    SSE_SIDECAR_BIN=$(../../deploy/build-static)
fi
if [ -z "${SSE_SIDECAR_PAGES:-}" ]; then
    SSE_SIDECAR_PAGES=$PWD/.cache/pages
    cargo run --quiet --locked --example generate -- "$SSE_SIDECAR_PAGES"
fi
export SSE_SIDECAR_BIN SSE_SIDECAR_PAGES

# A network of its own: the service has the ports of its shipped configuration.
exec unshare --net sh -c 'ip link set lo up && exec .cache/venv/bin/pytest "$@"' pytest "$@"
