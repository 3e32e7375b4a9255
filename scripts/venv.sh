# Sourced by ./demo, ./test and .ci/run: a virtual environment in .venv with Python 3.11 or newer.

find_python() {
    local name
    for name in python3.11 python3.12 python3.13 python3; do
        if command -v "$name" >/dev/null &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "egressd needs Python 3.11 or newer" >&2
    return 1
}

# A bare Debian has python3 without ensurepip, which `venv` needs.
apt_install() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo)
        if ! command -v sudo >/dev/null; then
            echo "this needs packages that only root may install; as root: apt-get install $*" >&2
            echo "then run this again, as the user that you are" >&2
            return 1
        fi
    fi
    echo "installing with apt-get (once): $*" >&2
    if ! { "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null; }; then
        echo "that did not work; as root: apt-get install $*" >&2
        return 1
    fi
}

make_venv() {
    local python
    if ! python=$(find_python); then
        apt_install python3 python3-venv || return 1
        python=$(find_python)
    fi
    if [ ! -x .venv/bin/pip ]; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv || return 1
        echo "making a virtual environment in .venv, with $("$python" --version)" >&2
        rm -rf .venv
        "$python" -m venv .venv
    fi
    # Once per change of the project file: a second run starts at once.
    local stamp=".venv/installed-$(cat pyproject.toml <(echo "$1") | sha256sum | cut -c1-16)"
    if [ ! -e "$stamp" ]; then
        echo "installing egressd and what it needs into .venv (once, a minute or so):" >&2
        PYTHONUNBUFFERED=1 .venv/bin/pip install --disable-pip-version-check --progress-bar off -e "$1" |
            sed -un 's/^\(Collecting [A-Za-z0-9_.-]*\|Installing\).*/  \1/p' >&2
        touch "$stamp"
    fi
}
