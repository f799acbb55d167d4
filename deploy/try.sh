#!/bin/sh
# Two nodes and an adapter in containers, with development PKI and a roster signed by two keepers.
#   podman build --format docker -f deploy/Containerfile -t localhost/dief-node . && deploy/try.sh
# Needs the `dief` command (make demo installs it into .venv/bin) and a compose tool (podman-compose, docker compose).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
try=${DIEF_TRY:-$here/try}
dief=${DIEF:-dief}
compose=${COMPOSE:-"podman-compose"}
"$here/try-homes.sh" "$try"
cd "$here"
DIEF_TRY=$try $compose up -d
for state in xa xb; do
  for attempt in 1 2 3 4 5 6 7 8 9 10; do
    $compose exec -T "$state" dief status >/dev/null 2>&1 && break
    sleep 1
  done
  $compose exec -T "$state" dief roster trust /etc/dief/roster.json --sha256 "$(cat "$try/roster.sha256")"
done
$compose exec -T xa dief peer admit XB
$compose exec -T xb dief peer admit XA
$compose exec -T xb dief status
