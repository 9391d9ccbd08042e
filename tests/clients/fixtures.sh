#!/usr/bin/env bash
# The suite of clients/python against the built binary, its types, and the example of docs/wallet-tests.md with the package
# as pip installs it. The suite of clients/rust is one of `cargo test --workspace`. Needs python3; installs pytest and mypy once.
#   tests/clients/fixtures.sh [CHAIN]           CHAIN: the binary to test
#   tests/clients/fixtures.sh --update [CHAIN]  generates the methods of the API again
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/dev_node.sh

if [[ ${1:-} == --update ]]; then
    start_dev_node "$(realpath "${2:-${CARGO_TARGET_DIR:-target}/debug/chain}")"
    curl -sf "$NODE/openapi.json" >"$folder/openapi.json"
    python3 clients/python/generate.py "$folder/openapi.json"
    exit
fi
CHAIN_BIN=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/debug/chain}")
export CHAIN_BIN

venv=$PWD/target/tools/pytest-9.2.0-mypy-2.4.1
make_venv "$venv" pytest==9.2.0 mypy==2.4.1 'setuptools>=77'
# The runner of documented commands has it on its path.
ln -sfn "$venv" target/tools/pytest
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# Setuptools builds in the folder of the source.
cp -r clients/python clients/examples "$copy"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --target "$copy/site" "$copy/python"

echo "types"
export MYPYPATH=$copy/site PYTHONPATH=$copy/site PYTHONDONTWRITEBYTECODE=1
"$venv/bin/mypy" --strict --cache-dir "$copy/cache" "$copy/site/chain" clients/python/tests clients/python/generate.py
(cd "$copy/examples" && "$venv/bin/mypy" --strict --cache-dir "$copy/cache" test_shop.py)
echo "suite"
"$venv/bin/pytest" -q -p no:cacheprovider clients/python
echo "example"
(cd "$copy/examples" && "$venv/bin/pytest" -q -p no:cacheprovider)
