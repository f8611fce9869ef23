#!/usr/bin/env bash
# Runs the tests in processes beside each other, since a test waits part of its time: four at once, or
# with --two two, each with two parts in turn, for tests that start whole platforms; after those come,
# alone, the ones that use the whole machine. Two parts have a platform each, at ports of their own.
# The output of all but the first comes when they are through.
# usage: side_by_side.sh [--two] <pytest> [arguments]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
at_once=4
if [[ $1 == --two ]]; then
    at_once=2
    shift
fi
pytest=("$@")
offset=${IDP_TEST_PORT_OFFSET:-10000}

platform=(tests/e2e tests/unit tests/integration/idp_cli)
second_platform=(
    tests/e2e/test_{appenv_decommissioning,application_decommissioning,circuit,drift}.py
    tests/e2e/test_{observability,pause,pull_requests,revocation,runbooks,traces,undo}.py
)
control_plane=(tests/integration/control_plane)
elsewhere=(
    tests/integration/control_plane/test_{due_rotations,onboarding,rotation,rotation_causes,undo}.py
)
several=(tests/integration/{idp_dagster,observability} tests/{architecture,contract,docs,property})
alone=(tests/e2e/test_endurance.py tests/endurance/test_watchers.py)
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

run() {
    case $1 in
    platform) "${pytest[@]}" --basetemp="$folder/$1" "${platform[@]}" "${second_platform[@]/#/--ignore=}" "${alone[@]/#/--ignore=}" ;;
    control_plane)
        IDP_TEST_PORT_OFFSET=$((offset - 2000)) "${pytest[@]}" --basetemp="$folder/$1" \
            "${control_plane[@]}" "${elsewhere[@]/#/--ignore=}" "${second_platform[@]}"
        ;;
    several) "${pytest[@]}" --basetemp="$folder/$1" "${several[@]}" "${elsewhere[@]}" ;;
    others)
        "${pytest[@]}" --basetemp="$folder/$1" \
            "${platform[@]/#/--ignore=}" "${control_plane[@]/#/--ignore=}" "${several[@]/#/--ignore=}" \
            "${alone[@]/#/--ignore=}"
        ;;
    alone) "${pytest[@]}" --basetemp="$folder/$1" "${alone[@]}" ;;
    esac
}

# Runs parts in turn, all of them whatever one says, in the background: beside <part>...
logs=()
beside() {
    local part
    for part in "$@"; do logs+=("$folder/$part.log"); done
    (
        status=0
        trap 'kill "$child" 2>/dev/null; wait "$child"; exit 143' TERM
        for part in "$@"; do
            run "$part" >"$folder/$part.log" 2>&1 &
            child=$!
            wait "$child" || status=$?
        done
        exit "$status"
    ) &
    running+=($!)
}

in_front=(platform)
if ((at_once == 2)); then
    beside control_plane several
    in_front+=(others)
else
    beside control_plane
    beside several
    beside others
fi

status=0
for part in "${in_front[@]}"; do
    run "$part" || status=$?
done
while ((${#running[@]})); do
    wait "${running[0]}" || status=$?
    running=("${running[@]:1}")
done
cat "${logs[@]}"
if ((at_once == 2)); then
    run alone || status=$?
fi
exit "$status"
