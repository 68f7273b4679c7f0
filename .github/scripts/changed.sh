#!/usr/bin/env bash
# Which parts of the repository differ between a commit and HEAD, as lines for $GITHUB_OUTPUT:
#   changed.sh BASE
# Without BASE, or with one that is not in this clone, everything counts as changed: building once
# too often is cheap, a change that is never rolled out is not.
set -euo pipefail

base=${1:-}
# The files in the image (.dockerignore), and those that decide how it is built.
image=(Dockerfile .dockerignore .github/scripts/bases.sh requirements.lock pyproject.toml README.md LICENSE app workers lib)
# Terraform creates its tables from the library's schemas.
infrastructure=(infrastructure lib/mlsys/schemas)

differs() {
  if [ -z "$base" ] || ! git rev-parse --quiet --verify "$base^{commit}" >/dev/null; then
    echo true
  elif git diff --quiet --no-renames "$base" HEAD -- "$@"; then
    echo false
  else
    echo true
  fi
}

cd "$(git rev-parse --show-toplevel)"
echo "image=$(differs "${image[@]}")"
echo "infrastructure=$(differs "${infrastructure[@]}")"
