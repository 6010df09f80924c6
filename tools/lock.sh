#!/usr/bin/env bash
# requirements.lock names every package of the toolchain by version and hashes, and says nothing of where they came from.
#
# --universal keeps one file good for every platform and Python that the project supports.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

"${VENV:-.venv}/bin/uv" pip compile pyproject.toml --group dev --extra local --extra opus --extra parquet --extra cluster --extra console --extra telemetry --output-file requirements.lock --quiet \
    --universal --python-version 3.11 --generate-hashes --upgrade \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links
