#!/usr/bin/env bash
# Tests a real `dev` node against its OpenAPI document with schemathesis and all its checks: valid and
# invalid requests, and every response. Needs python3; installs schemathesis once.
#   tests/schemathesis/run.sh [CHAIN] [SCHEMATHESIS OPTION …]      CHAIN: the binary to test
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}
chain=${1:-$target/debug/chain}
shift || true

version=4.32.5
tools=$PWD/target/tools/schemathesis-$version
if [[ ! -e $tools/ready ]]; then
    rm -rf "$tools"
    # Debian packages venv and pip separately.
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        if [[ $(id -u) != 0 ]]; then
            echo "schemathesis needs python3-venv: apt-get install python3-venv" >&2
            exit 1
        fi
        apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
    fi
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
    touch "$tools/ready"
fi

folder=$(mktemp -d)
"$chain" node --network dev --data "$folder/data" --api 127.0.0.1:0 --listen none \
    >"$folder/log" 2>&1 &
node=$!
finish() {
    kill "$node" 2>/dev/null || true
    wait "$node" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
for _ in $(seq 300); do
    [[ -e $folder/data/node.json ]] && break
    kill -0 "$node" || { cat "$folder/log" >&2; exit 1; }
    sleep 0.1
done

NODE=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["api"])' \
    "$folder/data/node.json")
TOKEN=$(cat "$folder/data/api-token")
export NODE TOKEN
python3 "$here/fill.py"

export SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
cd "$folder"
test_api() {
    "$tools/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$NODE/openapi.json" "$@"
}
# Event streams do not end; other tests cover them. Mining jobs come last because they load the machine.
test_api --exclude-path /v1/events --exclude-path /v1/ws --exclude-operation-id post-mining-jobs "$@"
test_api --include-operation-id post-mining-jobs --phases coverage,fuzzing "$@"
kill -0 "$node" || { echo "the node has exited" >&2; exit 1; }
if grep -qi 'panicked' "$folder/log"; then
    echo "the node panicked:" >&2
    grep -i -A5 'panicked' "$folder/log" >&2
    exit 1
fi
