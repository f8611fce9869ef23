#!/usr/bin/env bash
# Runs the tests in three processes beside each other, since most of them wait most of the time. Each
# has about a third of the work. The first has those of the whole platform, which share its ports;
# the output of the others comes when they are through.
# usage: side_by_side.sh <pytest> [arguments]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
platform=(tests/e2e tests/integration/idp_cli tests/integration/idp_dagster
    tests/integration/local_stack)
control_plane=(tests/integration/control_plane tests/contract tests/property tests/docs
    tests/endurance)
ignored=("${platform[@]/#/--ignore=}" "${control_plane[@]/#/--ignore=}")
# Folders of our own: pytest closes its default one to other accounts with each session, and root's
# PostgreSQL runs under another account.
folder=$(mktemp -d)
chmod 755 "$folder"

running=()
end() {
    if ((${#running[@]})); then
        kill "${running[@]}" 2>/dev/null && wait "${running[@]}" || true
    fi
    rm -rf "$folder"
}
trap end EXIT

"$@" "${control_plane[@]}" --basetemp="$folder/control_plane" >"$folder/control_plane.log" 2>&1 &
running+=($!)
"$@" "${ignored[@]}" --basetemp="$folder/others" >"$folder/others.log" 2>&1 &
running+=($!)

status=0
"$@" "${platform[@]}" --basetemp="$folder/platform" || status=$?
while ((${#running[@]})); do
    wait "${running[0]}" || status=$?
    running=("${running[@]:1}")
done
cat "$folder/control_plane.log" "$folder/others.log"
exit "$status"
