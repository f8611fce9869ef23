#!/usr/bin/env bash
# Runs the tests in four processes beside each other, since a test waits part of its time; with
# --and-alone those follow that use the whole machine. Each part may have platforms, at ports of their
# own. The output of all but the first comes when they are through.
# usage: side_by_side.sh [--and-alone] <pytest> [arguments]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
and_alone=no
if [[ $1 == --and-alone ]]; then
    and_alone=yes
    shift
fi
pytest=("$@")
offset=${IDP_TEST_PORT_OFFSET:-10000}

platform=(tests/e2e tests/unit tests/integration/idp_cli)
second_platform=(
    tests/e2e/test_{appenv_decommissioning,application_decommissioning,circuit,drift}.py
    tests/e2e/test_{observability,runbooks,traces}.py
)
control_plane=(tests/integration/control_plane)
elsewhere=(
    tests/integration/control_plane/test_{due_rotations,onboarding,rotation,rotation_causes,undo}.py
)
several=(tests/integration/{idp_dagster,observability} tests/{architecture,docs,property})
own_platform=(tests/e2e/test_pull_requests.py)
alone=(tests/e2e/test_endurance.py tests/endurance/test_{scrape,series,watchers}.py)
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

# Sets `paths` and `ports` to those of a part.
of_part() {
    ports=$offset
    case $1 in
    platform)
        paths=(
            "${platform[@]}" "${second_platform[@]/#/--ignore=}" "${own_platform[@]/#/--ignore=}"
            "${alone[@]/#/--ignore=}"
        )
        ;;
    control_plane)
        ports=$((offset - 2000))
        paths=("${control_plane[@]}" "${elsewhere[@]/#/--ignore=}" "${second_platform[@]}")
        ;;
    several) paths=("${several[@]}" "${elsewhere[@]}") ;;
    others)
        # The files of tests/e2e one by one, since what is in an ignored folder is not there at all.
        local file rest=("${platform[@]:1}")
        for file in tests/e2e/test_*.py; do
            [[ " ${own_platform[*]} " == *" $file "* ]] || rest+=("$file")
        done
        paths=(
            "${rest[@]/#/--ignore=}" "${control_plane[@]/#/--ignore=}" "${several[@]/#/--ignore=}"
            "${alone[@]/#/--ignore=}"
        )
        ;;
    alone) paths=("${alone[@]}") ;;
    esac
}

run() {
    of_part "$1"
    IDP_TEST_PORT_OFFSET=$ports "${pytest[@]}" --basetemp="$folder/$1" "${paths[@]}"
}

for part in control_plane several others; do
    of_part "$part"
    IDP_TEST_PORT_OFFSET=$ports "${pytest[@]}" --basetemp="$folder/$part" "${paths[@]}" \
        >"$folder/$part.log" 2>&1 &
    running+=($!)
done
status=0
run platform || status=$?
while ((${#running[@]})); do
    wait "${running[0]}" || status=$?
    running=("${running[@]:1}")
done
cat "$folder"/{control_plane,several,others}.log
if [[ $and_alone == yes ]]; then
    run alone || status=$?
fi
exit "$status"
