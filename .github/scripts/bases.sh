#!/usr/bin/env bash
# Print a Dockerfile with each base image by the digest that its tag has now, and the last one as labels:
#   bases.sh DOCKERFILE
# A tag moves, so a build by tags cannot be repeated or explained. The deploy workflow builds what this
# prints. Commit what it prints to build by the same digests until Dependabot proposes newer ones.
set -euo pipefail

fail() {
  echo "bases: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: bases.sh DOCKERFILE"
[ -r "$1" ] || fail "cannot read $1"

from='^(FROM[[:space:]]+)([^[:space:]]+)(.*)$' digest='@sha256:[0-9a-f]{64}$'
base='' stages=' '
while IFS= read -r line || [ -n "$line" ]; do
  if [[ $line =~ $from ]]; then
    before=${BASH_REMATCH[1]} image=${BASH_REMATCH[2]} after=${BASH_REMATCH[3]}
    [[ $image == *\$* || $image == --* ]] && fail "'$line' names no image: write it without variables and options"
    if [[ $stages != *" $image "* && ! $image =~ $digest ]]; then
      found=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}') || fail "cannot resolve $image"
      [[ @$found =~ $digest ]] || fail "$image has no digest: '$found'"
      image=$image@$found
    fi
    [[ ${after,,} =~ [[:space:]]as[[:space:]]+([^[:space:]]+) ]] && stages+="${BASH_REMATCH[1]} "
    base=$image line=$before$image$after
    echo "bases: $image" >&2
  fi
  # Those of an earlier run are replaced.
  [[ $line == 'LABEL org.opencontainers.image.base.'* ]] || printf '%s\n' "$line"
done <"$1"
[[ $base =~ $digest ]] || fail "$1 builds on no image"
printf 'LABEL org.opencontainers.image.base.name="%s" org.opencontainers.image.base.digest="%s"\n' "${base%@*}" "${base#*@}"
