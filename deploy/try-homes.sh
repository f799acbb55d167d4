#!/bin/sh
# Homes of XA and XB below a folder, as containers mount them: try-homes.sh FOLDER
set -eu
try=${1:?folder}
dief=${DIEF:-dief}
mkdir -p "$try"
for state in XA XB; do
  host=$(echo "$state" | tr A-Z a-z)
  "$dief" init "$try/$host" --state "$state" --dev --dns "$host" --listen 0.0.0.0:7443 --national 0.0.0.0:7444
  "$dief" pki card "$try/$state.card.json" --config "$try/$host/dief.toml" --name "State $state" --endpoint "$host:7443"
done
for keeper in a b; do "$dief" roster keygen "$try/keeper-$keeper.key"; done
"$dief" roster init "$try/roster.json" --keeper "$try/keeper-a.key.pub" --keeper "$try/keeper-b.key.pub"
"$dief" roster add "$try/roster.json" "$try/XA.card.json" "$try/XB.card.json"
for keeper in a b; do "$dief" roster sign "$try/roster.json" --key "$try/keeper-$keeper.key"; done
"$dief" roster verify "$try/roster.json" --json | sed -n 's/.*"sha256": "\([0-9a-f]*\)".*/\1/p' >"$try/roster.sha256"
for state in xa xb; do cp "$try/roster.json" "$try/$state/"; done
