#!/usr/bin/env bash
# Checks the OpenAPI document with Redocly's linter, generates clients in Python and TypeScript from it, compiles them, and
# uses the one in Python against a real `dev` node. Needs python3 and npm; installs the generators once.
#   tests/clients/run.sh [CHAIN]      CHAIN: the binary to test
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
chain=${1:-${CARGO_TARGET_DIR:-target}/debug/chain}
source tests/dev_node.sh

python_generator=0.29.1
venv=$PWD/target/tools/openapi-python-client-$python_generator
make_venv "$venv" "openapi-python-client==$python_generator"
modules=$PWD/target/tools/openapi-node-7.13.0-5.9.3-2.77.0
if [[ ! -e $modules/ready ]]; then
    rm -rf "$modules" && mkdir -p "$modules"
    npm install --silent --no-fund --no-audit --prefix "$modules" \
        openapi-typescript@7.13.0 typescript@5.9.3 @redocly/cli@2.77.0
    touch "$modules/ready"
fi
bin=$modules/node_modules/.bin

start_dev_node "$chain"
cp "$here/use.py" "$here/use.ts" "$folder"
cd "$folder"
curl -sf "$NODE/openapi.json" >openapi.json

echo "lint"
REDOCLY_TELEMETRY=off "$bin/redocly" lint --extends=recommended openapi.json >lint 2>&1 || { cat lint >&2; exit 1; }

echo "client in Python"
PATH=$venv/bin:$PATH openapi-python-client generate --path openapi.json --meta none --output-path client >generated 2>&1 ||
    { cat generated >&2; exit 1; }
# It has no bodies of plain text, and takes those of JSON.
if grep '^WARNING' generated | grep -v 'parsing POST /v1/\(blocks\|headers\|transactions\|transactions/check\) '; then
    cat generated >&2
    exit 1
fi
"$venv/bin/python" -m compileall -q client
"$venv/bin/python" use.py

echo "client in TypeScript"
"$bin/openapi-typescript" openapi.json --output api.ts >/dev/null
"$bin/tsc" --noEmit --strict --target es2022 --moduleResolution bundler --module es2022 use.ts
