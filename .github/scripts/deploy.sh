#!/usr/bin/env bash
# Roll an image out to a Cloud Run service, its console and its job, and roll back if the service is unhealthy.
#   deploy.sh running SERVICE                          the image that has all the traffic, by digest
#   deploy.sh url SERVICE                              its address
#   deploy.sh check ENV DIGEST CONFIRMATION RUNNING    refuse unless DIGEST may go to ENV; print the image
#   deploy.sh release SERVICE IMAGE                    roll IMAGE out
# Project and region come from gcloud's own variables, CLOUDSDK_CORE_PROJECT and CLOUDSDK_RUN_REGION.
# release also reads
#   ID_TOKEN       the token for the service; its audience is the service's address
#   SMOKE_PREDICT  parameters of /predict for a dry run, `env=dev&input_table=...`; none: only /health, /check
#   SMOKE_TRIES    calls of a new revision before it counts as broken (default 10)
#   SMOKE_DELAY    seconds between two tries (default 3)
set -euo pipefail

fail() {
  echo "deploy: $*" >&2
  exit 1
}

describe() {
  gcloud run services describe "$1" --format=json ||
    fail "cannot read the service $1: if it does not exist yet, create it with Terraform (docs/deploying.md)"
}

# Revisions with traffic and their shares, as --to-revisions takes them: "mlsys-dev-00001-abc=100".
traffic() {
  jq -r '[.status.traffic // [] | .[] | select((.percent // 0) > 0) | "\(.revisionName)=\(.percent)"] | join(",")'
}

image_of() {
  gcloud run revisions describe "$1" --format='value(spec.containers[0].image)'
}

running() {
  local split
  split=$(describe "$1" | traffic)
  [[ $split =~ ^([a-z0-9-]+)=100$ ]] ||
    fail "no revision of $1 has all the traffic (${split:-none has any})"
  image_of "${BASH_REMATCH[1]}"
}

check() {
  local env=$1 digest=$2 confirmation=$3 running=$4 from
  case $env in
    staging) from=dev ;;
    prod) from=staging ;;
    *) fail "$env is not deployed to by hand: pass staging or prod" ;;
  esac
  [ "$confirmation" = "$env" ] || fail "not confirmed: type $env to deploy to $env"
  [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "'$digest' is not a digest: pass sha256: and 64 digits"
  [ "${running#*@}" = "$digest" ] || fail "$from runs $running, not $digest: deploy that image to $from first"
  echo "$running"
}

# One GET with the token, which is kept off the command line. Print the body, or say how it failed: the
# status, and the first of what was answered.
get() {
  local answer status
  answer=$(printf 'header = "Authorization: Bearer %s"\n' "${ID_TOKEN:-}" |
    curl --config - --silent --show-error --max-time 60 --write-out '\n%{http_code}' "$1") || return 1
  status=${answer##*$'\n'} answer=${answer%$'\n'*}
  if [ "$status" != 200 ]; then
    echo "deploy: ${1%%\?*} answered $status: ${answer:0:2000}" >&2
    return 1
  fi
  printf '%s\n' "$answer"
}

# Whether the answer to a GET has what the filter of jq asks for; print an answer that has not.
answers() {
  local answer
  answer=$(get "$1") || return 1
  jq -e "$2" <<<"$answer" >/dev/null && return 0
  echo "deploy: ${1%%\?*} is not ready: ${answer:0:2000}" >&2
  return 1
}

# Whether the tables have the columns that the revision writes. Other failed checks are only printed:
# they may be older than this release.
writes_its_tables() {
  local answer
  answer=$(get "$1/check?env=$2") || return 1
  jq -r '.checks[] | select(.state == "failed") | "deploy: \(.id) failed: \(.seen) To fix it: \(.fix)"' <<<"$answer" >&2
  jq -e '.checks | map(select(.id | IN("registry-table", "aliases-table", "ledger-table", "evaluations-table", "profiles-table"))) | length == 5 and all(.state == "ok")' \
    <<<"$answer" >/dev/null && return 0
  echo "deploy: the tables of $2 do not fit this release" >&2
  return 1
}

healthy() {
  local health env envs
  health=$(get "$1/health") || return 1
  envs=$(jq -er 'select(.status == "healthy") | .envs | select(length > 0) | .[]' <<<"$health") || {
    echo "deploy: $1/health is not ready: ${health:0:2000}" >&2
    return 1
  }
  for env in $envs; do
    writes_its_tables "$1" "$env" || return 1
  done
  [ -n "${SMOKE_PREDICT:-}" ] || return 0
  answers "$1/predict?$SMOKE_PREDICT&dry_run=true" '.ok == true'
}

smoke() {
  local try
  for ((try = 1; try <= ${SMOKE_TRIES:-10}; try++)); do
    if healthy "$1"; then
      echo "deploy: $1 is healthy"
      return 0
    fi
    sleep "${SMOKE_DELAY:-3}"
  done
  echo "deploy: $1 is not healthy" >&2
  return 1
}

# The job of a service: mlsys-score-dev for mlsys-dev.
job_of() {
  echo "mlsys-score-${1#mlsys-}"
}

# The image of a job, or nothing if it does not exist.
job_image() {
  local names
  names=$(gcloud run jobs list --format='value(metadata.name)') || fail "cannot list the jobs"
  grep -qxF "$1" <<<"$names" || return 0
  gcloud run jobs describe "$1" --format='value(spec.template.spec.template.spec.containers[0].image)'
}

# The console of a service: mlsys-web-dev for mlsys-dev.
console_of() {
  echo "mlsys-web-${1#mlsys-}"
}

# The traffic of a console, or nothing if it does not exist.
console_traffic() {
  local names
  names=$(gcloud run services list --format='value(metadata.name)') || fail "cannot list the services"
  grep -qxF "$1" <<<"$names" || return 0
  describe "$1" | traffic
}

# Switch Identity-Aware Proxy in front of a console on again if it expects it: Terraform's apply may have
# switched it off (docs/decisions/0149). The console stays closed while it is off, so this fails no release.
keep_proxy() {
  local state
  state=$(describe "$1")
  jq -e '[.spec.template.spec.containers[]?.env[]?.name] | index("MLSYS_IAP_AUDIENCE") != null' <<<"$state" >/dev/null || return 0
  [ "$(jq -r '.metadata.annotations["run.googleapis.com/iap-enabled"]' <<<"$state")" != true ] || return 0
  gcloud run services update "$1" --iap --quiet ||
    echo "deploy: Identity-Aware Proxy in front of $1 is off: gcloud run services update $1 --iap" >&2
}

# However release ends, remove the tag; unless it succeeded, move the traffic and the job's image back.
leave() {
  local code=$?
  trap - EXIT
  if [ "$console_moved" = true ] && [ "$code" -ne 0 ]; then
    echo "deploy: traffic of $console goes back to $console_before" >&2
    gcloud run services update-traffic "$console" --to-revisions="$console_before" --quiet || code=2
  fi
  if [ "$job_moved" = true ] && [ "$code" -ne 0 ]; then
    echo "deploy: $job goes back to $job_before" >&2
    gcloud run jobs update "$job" --image="$job_before" --quiet || code=2
  fi
  if [ "$moved" = true ] && [ "$code" -ne 0 ]; then
    if [ -n "$before" ]; then
      echo "deploy: traffic goes back to $before" >&2
      gcloud run services update-traffic "$service" --to-revisions="$before" --quiet || code=2
    else
      echo "deploy: the service has no revision to go back to" >&2
    fi
  fi
  if [ "$tagged" = true ]; then
    gcloud run services update-traffic "$service" --remove-tags=candidate --quiet ||
      echo "deploy: the tag candidate is left on $service" >&2
  fi
  exit "$code"
}

release() {
  local state revision url candidate console_revision
  service=$1 image=$2 moved=false tagged=false job_moved=false console_moved=false
  [[ $image =~ @sha256:[0-9a-f]{64}$ ]] || fail "'$image' is not named by its digest"
  state=$(describe "$service")
  before=$(traffic <<<"$state")
  url=$(jq -r '.status.url' <<<"$state")
  job=$(job_of "$service")
  job_before=$(job_image "$job")
  console=$(console_of "$service")
  console_before=$(console_traffic "$console")
  trap leave EXIT
  trap 'exit 130' INT TERM

  gcloud run services update "$service" --image="$image" --no-traffic --quiet
  revision=$(describe "$service" | jq -r '.status.latestCreatedRevisionName')
  # Not with --tag on the update: gcloud would then name the revision, and Terraform's next plan would
  # remove that name (docs/decisions/0018).
  tagged=true
  gcloud run services update-traffic "$service" --update-tags="candidate=$revision" --quiet
  candidate=$(describe "$service" | jq -er '.status.traffic[] | select(.tag == "candidate") | .url')
  smoke "$candidate"

  # Nobody but its users can call the console: its startup probe says whether the revision is ready.
  if [ -n "$console_before" ]; then
    gcloud run services update "$console" --image="$image" --no-traffic --quiet
    console_revision=$(describe "$console" | jq -r '.status.latestCreatedRevisionName')
  else
    echo "deploy: the console $console does not exist and was not moved: create it with Terraform (docs/deploying.md)" >&2
  fi

  # Before the traffic: a run that the new revision plans is scored by the new image.
  if [ -n "$job_before" ]; then
    job_moved=true
    gcloud run jobs update "$job" --image="$image" --quiet
  else
    echo "deploy: the job $job does not exist and was not moved: create it with Terraform (docs/deploying.md)" >&2
  fi
  moved=true
  gcloud run services update-traffic "$service" --to-revisions="$revision=100" --quiet
  smoke "$url"
  if [ -n "$console_before" ]; then
    console_moved=true
    gcloud run services update-traffic "$console" --to-revisions="$console_revision=100" --quiet
    keep_proxy "$console"
  fi
  echo "deploy: $service runs $image as $revision (before: ${before:-nothing})"
  if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    echo "**$service** runs \`$revision\`: \`${image#*@}\`" >>"$GITHUB_STEP_SUMMARY"
  fi
}

verb=${1:-}
shift || true
case $verb/$# in
  running/1) running "$@" ;;
  url/1) describe "$1" | jq -r '.status.url' ;;
  check/4) check "$@" ;;
  release/2) release "$@" ;;
  *) fail "usage: deploy.sh running|url SERVICE, check ENV DIGEST CONFIRMATION RUNNING, release SERVICE IMAGE" ;;
esac
