#!/bin/sh
# Runs the end-to-end tests; arguments go to pytest. SSE_SIDECAR_BIN names the binary
# to test, else the release build is made and taken.
set -eu
cd "$(dirname "$0")"

./install.sh
if [ -z "${SSE_SIDECAR_BIN:-}" ]; then
    cargo build --release --features jemalloc --manifest-path ../../Cargo.toml
fi
if [ $# -gt 0 ]; then
    exec .cache/venv/bin/pytest "$@"
fi
.cache/venv/bin/pytest -m 'not alone'
exec .cache/venv/bin/pytest -m alone -n 0
