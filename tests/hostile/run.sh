#!/usr/bin/env bash
# Attacks a real `dev` node with hostile clients while an honest one measures it, and prints a row for each attack.
# Needs Linux, python3, unshare and ip; runs in a network namespace of its own, as root or with user namespaces.
#   tests/hostile/run.sh [--full] [CHAIN] [ATTACK …]
#   tests/hostile/run.sh --sync [--repetitions=N] [CHAIN] [FIGURE …]
# --full uses the sizes of docs/threats.md, pins the node and the clients to different cores, and checks times too.
# --sync measures how nodes sync instead, among lying peers too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$here/run.py options=()
if [[ ${1:-} == --sync ]]; then
    program=$here/sync.py
    shift
fi
while [[ ${1:-} == --* ]]; do
    options+=("$1")
    shift
done
chain=$(realpath "${1:-${CARGO_TARGET_DIR:-$here/../../target}/debug/chain}")
shift || true
namespace=(unshare --net)
((EUID == 0)) || namespace+=(--map-root-user)
# Every address of these networks is local: clients choose theirs, and none of them is a loopback address.
exec "${namespace[@]}" -- bash -ceu '
    ip link set lo up
    ip route add local 10.77.0.0/16 dev lo
    ip route add local 20.0.0.0/8 dev lo
    ip -6 route add local 2a00::/16 dev lo
    echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind
    exec python3 -B "$@"
' bash "$program" "${options[@]}" "$chain" "$@"
