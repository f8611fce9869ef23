#!/usr/bin/env bash
# Runs the tests in two processes beside each other, each about half of the work: those of the
# platform from the outside, which share its ports, and all others, whose output comes when they are
# through. usage: in_two.sh <pytest> [arguments]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
platform=(tests/e2e tests/integration/idp_cli tests/integration/control_plane tests/contract
    tests/property)
# Folders of our own: pytest closes its default one to other accounts with each session, and root's
# PostgreSQL runs under another account.
folder=$(mktemp -d)
chmod 755 "$folder"

others_run=
end() {
    [[ -n $others_run ]] && kill "$others_run" 2>/dev/null && wait "$others_run" || true
    rm -rf "$folder"
}
trap end EXIT

"$@" "${platform[@]/#/--ignore=}" --basetemp="$folder/others" >"$folder/others.log" 2>&1 &
others_run=$!

status=0
"$@" "${platform[@]}" --basetemp="$folder/platform" || status=$?
wait "$others_run" || status=$?
others_run=
cat "$folder/others.log"
exit "$status"
