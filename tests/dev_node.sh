# Starts a `dev` node for a script that tests its API; to be sourced. Sets NODE, TOKEN and `folder`, a temporary
# directory with the log of the node; the exit of the script stops the node and removes it.
#   start_dev_node CHAIN      the binary to test
start_dev_node() {
    folder=$(mktemp -d)
    "$1" node --network dev --data "$folder/data" --api 127.0.0.1:0 --listen none \
        >"$folder/log" 2>&1 &
    node=$!
    trap stop_dev_node EXIT
    for _ in $(seq 300); do
        [[ -e $folder/data/node.json ]] && break
        kill -0 "$node" || { cat "$folder/log" >&2; exit 1; }
        sleep 0.1
    done
    NODE=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["api"])' \
        "$folder/data/node.json")
    TOKEN=$(cat "$folder/data/api-token")
    export NODE TOKEN
}

stop_dev_node() {
    kill "$node" 2>/dev/null || true
    wait "$node" 2>/dev/null || true
    rm -rf "$folder"
}

# Makes a virtual environment of Python unless it is complete, and installs packages.
#   make_venv FOLDER PACKAGE …
make_venv() {
    local venv=$1
    shift
    [[ -e $venv/ready ]] && return
    rm -rf "$venv"
    # Debian packages venv and pip separately.
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        if [[ $(id -u) != 0 ]]; then
            echo "$1 needs python3-venv: apt-get install python3-venv" >&2
            exit 1
        fi
        apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
    fi
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
    touch "$venv/ready"
}
