#!/usr/bin/env bash
# Installs what the system tests need and Python's lock files cannot give. Repeating it does
# nothing: only what is missing is installed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

# Program to look for, and the Debian package that has it.
wanted=(
    "chromium chromium"
    "npm npm"
    "zsh zsh"
    "fish fish"
    "prometheus prometheus"
    "prometheus-alertmanager prometheus-alertmanager"
    "redis-server redis-server"
    "nginx nginx"
)

# Backstage's own rules for its catalog, what checks requests against descriptions of APIs, and what
# GitHub draws diagrams with, as locked here.
install_npm_packages() {
    local folder
    for folder in backstage contracts mermaid; do
        [[ $folder/node_modules/.package-lock.json -nt $folder/package-lock.json ]] && continue
        npm ci --prefix "$folder" --no-audit --no-fund --loglevel=error
    done
}

# Where Debian has servers' programs, which not everybody's PATH names.
PATH=$PATH:/usr/sbin
missing=()
for pair in "${wanted[@]}"; do
    read -r program package <<<"$pair"
    command -v "$program" >/dev/null || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
    install_npm_packages
    exit
fi

if ! command -v apt-get >/dev/null; then
    echo "The system tests need ${missing[*]}; install them as your system does (no apt-get here)." >&2
    exit 1
fi
if [[ $(id -u) -eq 0 ]]; then
    as_root=()
elif command -v sudo >/dev/null; then
    as_root=(sudo)
else
    echo "The system tests need ${missing[*]}. Run as root, or install sudo, or have somebody run:" >&2
    echo "    apt-get install ${missing[*]}" >&2
    exit 1
fi

echo "installing ${missing[*]} …"
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
# Their packages start them, on ports of ours and with nothing to watch.
if [[ -d /run/systemd/system ]]; then
    for package in "${missing[@]}"; do
        if [[ $package == prometheus* || $package == redis-server || $package == nginx ]]; then
            "${as_root[@]}" systemctl disable --now "$package"
        fi
    done
fi
install_npm_packages
