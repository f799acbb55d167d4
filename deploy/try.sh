#!/bin/sh
# Two nodes and an adapter in containers (compose.yaml), up to the first row of a registry that reaches the other State:
#   podman build --format docker -f deploy/Containerfile -t localhost/dief-node . && deploy/try.sh
# Needs a compose tool only: podman-compose, or COMPOSE="docker compose". `$COMPOSE down -v` in this folder ends it.
set -eu
cd "$(dirname "$0")"
compose=${COMPOSE:-podman-compose}
drop=${DIEF_DROP:-./try/drop}
mkdir -p "$drop"

# Whether a command of a node succeeds within a minute.
within_a_minute() {
  attempt=0
  until "$@" >/dev/null 2>&1; do
    attempt=$((attempt + 1))
    if [ "$attempt" -ge 60 ]; then
      echo "This did not succeed within a minute: $*" >&2
      $compose logs >&2
      exit 1
    fi
    sleep 1
  done
}

at() {
  state=$1
  shift
  $compose exec -T "$state" "$@"
}

waiting() {
  at xb dief release list --json | sed -n 's/.*"draft": "\(.*\)".*/\1/p' | grep .
}

arrived() {
  at xa dief alert list --json | grep alerts/XB/
}

waiting_or_arrived() {
  waiting || arrived
}

$compose up -d
for state in xa xb; do
  within_a_minute at "$state" dief status
  at "$state" sh -c 'dief roster trust /etc/dief/roster.json --sha256 "$(cat /etc/dief/roster.sha256)"'
done
at xa dief peer admit XB
at xb dief peer admit XA

cp registries/seizures_c/drop/*.csv "$drop/"
within_a_minute waiting_or_arrived
for draft in $(waiting); do at xb dief release approve "$draft"; done
within_a_minute arrived
at xa dief alert list
