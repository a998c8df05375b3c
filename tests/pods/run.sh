#!/bin/sh
# Tests the image, the Kubernetes manifests and the systemd unit; arguments go to
# pytest. SSE_SIDECAR_BIN names the binary to test, which must be static; else it is
# built.
set -eu
cd "$(dirname "$0")"

./install.sh
if [ -z "${SSE_SIDECAR_BIN:-}" ]; then
    SSE_SIDECAR_BIN=$(../../deploy/build-static)
fi
export SSE_SIDECAR_BIN

mkdir -p .cache/image .cache/app
cp "$SSE_SIDECAR_BIN" .cache/image/sse-sidecar
cp /etc/ssl/certs/ca-certificates.crt .cache/image/
rustc --edition 2024 -O -C target-feature=+crt-static -C strip=symbols \
    --target "$(uname -m)-unknown-linux-gnu" -o .cache/app/app app.rs

# Bridges and their addresses are the machine's: one run at a time.
exec flock "${TMPDIR:-/tmp}/sse-sidecar-pods.lock" .cache/venv/bin/pytest "$@"
