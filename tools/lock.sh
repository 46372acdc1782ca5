#!/usr/bin/env bash
# Make the lock files anew from pyproject.toml (needs uv on PATH).
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
    uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
        --python-version 3.11 "$@"
}
compile pyproject.toml -o requirements.lock
compile pyproject.toml --group dev -o requirements-dev.lock
compile --group build -o requirements-build.lock
compile --group native -o requirements-native.lock
compile --group clients -o requirements-clients.lock
compile --group clients-older -o requirements-clients-older.lock
