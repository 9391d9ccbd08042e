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
source tests/dev_node.sh
make_venv "$tools" "schemathesis==$version"
start_dev_node "$chain"
python3 "$here/fill.py"

export SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
cd "$folder"
test_api() {
    "$tools/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$NODE/openapi.json" "$@"
}
# Event streams do not end: they are read for a while. Mining jobs come last because they load the machine.
"$tools/bin/python" "$here/streams.py"
test_api --exclude-path /v1/events --exclude-path /v1/ws --exclude-operation-id post-mining-jobs "$@"
test_api --include-operation-id post-mining-jobs --phases coverage,fuzzing "$@"
kill -0 "$node" || { echo "the node has exited" >&2; exit 1; }
if grep -qi 'panicked' "$folder/log"; then
    echo "the node panicked:" >&2
    grep -i -A5 'panicked' "$folder/log" >&2
    exit 1
fi
