#!/bin/sh
# Homes of XA and XB, and what XB's adapter needs, below a folder: try-homes.sh FOLDER [OWNER]
# Development PKI and a roster signed by two keepers, whose keys stay in FOLDER/keepers.
#   FOLDER/xa, FOLDER/xb      mounted as /etc/dief of a node
#   FOLDER/xb-registry        mounted as /etc/dief of the adapter: mapping and the registry's certificate, nothing else
# A second run changes nothing; one that was interrupted begins again. With OWNER (a user id) the files belong to it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?folder}"
try=$(cd "$1" && pwd)
owner=${2:-}
dief=${DIEF:-dief}
complete=$try/keepers/complete
[ ! -f "$complete" ] || exit 0

mkdir -p "$try/xa" "$try/xb" "$try/xb-registry" "$try/keepers"
find "$try/xa" "$try/xb" "$try/xb-registry" "$try/keepers" -mindepth 1 -delete
for state in XA XB; do
  host=$(echo "$state" | tr A-Z a-z)
  "$dief" init "$try/$host" --state "$state" --dev --dns "$host" --listen 0.0.0.0:7443 --national 0.0.0.0:7444
  "$dief" pki card "$try/keepers/$state.card.json" --config "$try/$host/dief.toml" --name "State $state" \
    --endpoint "$host:7443"
done

cd "$try/keepers"
for keeper in a b; do "$dief" roster keygen "keeper-$keeper.key"; done
"$dief" roster init roster.json --keeper keeper-a.key.pub --keeper keeper-b.key.pub
"$dief" roster add roster.json XA.card.json XB.card.json
for keeper in a b; do "$dief" roster sign roster.json --key "keeper-$keeper.key"; done
"$dief" roster verify roster.json --json | sed -n 's/.*"sha256": "\([0-9a-f]*\)".*/\1/p' >roster.sha256
for state in xa xb; do cp roster.json roster.sha256 "$try/$state/"; done

sed 's|^folder = .*|folder = "/var/lib/registry"|' "$here/registries/seizures_c/mapping.toml" \
  >"$try/xb-registry/mapping.toml"
for file in national-ca.pem registry.pem registry.key; do cp -p "$try/xb/pki/$file" "$try/xb-registry/"; done

[ -z "$owner" ] || chown -R "$owner" "$try/xa" "$try/xb" "$try/xb-registry" "$try/keepers"
touch "$complete"
