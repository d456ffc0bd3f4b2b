# shellcheck shell=bash
# Sourced by the other scripts: makes this machine ready to build pfs, and says what it lacks where it cannot.
# A machine that has everything is left alone: no package list is fetched, no toolchain installed.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What RocksDB (a C++ compiler, and libclang for its bindings), zstd and ring (a C compiler) need to be built, and
# the programs that the tests let work in synced trees: git, make, and Python for its SQLite.
packages=(build-essential clang libclang-dev pkg-config git python3 ca-certificates)

step() { printf '\n== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

install_packages() {
    command -v dpkg-query >/dev/null || {
        echo "not a Debian machine: assuming that it has what these packages hold: ${packages[*]}"
        return
    }
    local missing=() package
    for package in "${packages[@]}"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0

    local as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail "these packages are missing: ${missing[*]}
to install them, as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    step "installing ${missing[*]}"
    local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends)
    # The package list may be absent or stale; it is fetched only where that shows.
    "${install[@]}" "${missing[@]}" </dev/null && return
    "${as_root[@]}" apt-get update -q
    "${install[@]}" "${missing[@]}" </dev/null || fail "these packages could not be installed: ${missing[*]}"
}

# The Rust that `rust-toolchain.toml` names. A machine may have the same compiler under another name, such as
# `stable`; rustup would then try to download it again, which fails without a network, so it is named here.
find_rust() {
    local wanted name
    wanted=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
    command -v cargo >/dev/null || PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    command -v cargo >/dev/null || fail "there is no cargo: install Rust $wanted, for example with
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --default-toolchain $wanted"
    if command -v rustup >/dev/null && [[ -z ${RUSTUP_TOOLCHAIN:-} ]]; then
        if ! rustup toolchain list | grep -q "^$wanted-"; then
            for name in $(rustup toolchain list | sed 's/ .*//'); do
                [[ $(rustup run "$name" rustc --version) == "rustc $wanted "* ]] || continue
                export RUSTUP_TOOLCHAIN=$name
                break
            done
            [[ -n ${RUSTUP_TOOLCHAIN:-} ]] || rustup toolchain install "$wanted" --profile minimal -c rustfmt -c clippy
        fi
    fi
    [[ $(rustc --version) == "rustc $wanted "* ]] ||
        echo "note: pfs is built with Rust $wanted; this is $(rustc --version)"
}

install_packages
find_rust

# Where cargo puts what it builds: a variable or a setting of the user's may say so.
# shellcheck disable=SC2034 # the scripts that source this one use it
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

# The one build that demo, tests and daily work share. The first takes a quarter of an hour: RocksDB is most of it.
build() {
    step "building (the first time takes a quarter of an hour)"
    cargo build --workspace --all-targets --locked
}
