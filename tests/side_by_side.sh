#!/usr/bin/env bash
# Runs the tests in four processes beside each other, each with about a quarter of the work: a test
# waits part of its time. Two have a whole platform each, at ports of their own; the output of all
# but the first comes when they are through.
# usage: side_by_side.sh <pytest> [arguments]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
platform=(tests/e2e tests/unit tests/integration/idp_cli)
second_platform=(tests/e2e/test_{drift,observability,runbooks,traces,undo}.py)
control_plane=(tests/integration/control_plane)
elsewhere=(tests/integration/control_plane/test_{due_rotations,onboarding}.py)
parts=(tests/integration/{idp_dagster,local_stack,observability} tests/contract tests/docs tests/endurance
    tests/property)
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

# Runs pytest in the background: beside <name> <arguments>
logs=()
beside() {
    logs+=("$folder/$1.log")
    "${pytest[@]}" --basetemp="$folder/$1" "${@:2}" >"$folder/$1.log" 2>&1 &
    running+=($!)
}

pytest=("$@")
offset=${IDP_TEST_PORT_OFFSET:-10000}
IDP_TEST_PORT_OFFSET=$((offset - 2000)) beside control_plane "${control_plane[@]}" \
    "${elsewhere[@]/#/--ignore=}" "${second_platform[@]}"
beside parts "${parts[@]}" "${elsewhere[@]}"
beside others "${platform[@]/#/--ignore=}" "${control_plane[@]/#/--ignore=}" "${parts[@]/#/--ignore=}"

status=0
"${pytest[@]}" --basetemp="$folder/platform" "${platform[@]}" \
    "${second_platform[@]/#/--ignore=}" || status=$?
while ((${#running[@]})); do
    wait "${running[0]}" || status=$?
    running=("${running[@]:1}")
done
cat "${logs[@]}"
exit "$status"
