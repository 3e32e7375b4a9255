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
    echo "egressd needs Python 3.11 or newer: apt-get install python3 python3-venv" >&2
    return 1
}

# A bare Debian has python3 without ensurepip, which `venv` needs.
apt_install() {
    echo "installing with apt-get (once): $*" >&2
    if [ "$(id -u)" -eq 0 ]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
    elif command -v sudo >/dev/null; then
        sudo apt-get update -qq
        sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
    else
        echo "please install as root: apt-get install $*" >&2
        return 1
    fi
}

make_venv() {
    local python
    python=$(find_python) || { apt_install python3 python3-venv && python=$(find_python); }
    if [ ! -x .venv/bin/pip ]; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
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
