"""Starts the program `hostile-peer`, whose commands are attacks on the port for peers."""

import subprocess
from contextlib import contextmanager
from pathlib import Path

# Addresses in 8 networks of 16 bits.
V4 = [f"20.{1 + number % 8}.{number // 8}.9" for number in range(240)]


def program(chain):
    """The program beside the one of the node."""
    paths = [Path(chain).parent / "examples/hostile-peer", Path(chain).parent / "hostile-peer"]
    return next(path for path in paths if path.exists())


@contextmanager
def started(node, *commands):
    """Runs commands with their arguments, each from some source addresses, until the end of the block."""
    processes = []
    try:
        for sources, *arguments in commands:
            command = [node.hostile_peer, *map(str, arguments), "--genesis", node.genesis, "--seconds", "3600"]
            command += ["--source", ",".join(sources)] if sources else []
            processes.append(subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            ))
        yield processes
        ended = [process for process in processes if process.poll() is not None]
        assert not ended, f"{ended[0].args} ended: {ended[0].stderr.read()}"
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run(node, stop, *commands):
    """Runs commands until `stop` is set."""
    with started(node, *commands):
        stop.wait()


def listening(process, count):
    """The addresses, with ids, on which a command listens."""
    addresses = []
    while len(addresses) < count:
        line = process.stderr.readline()
        assert line, f"{process.args} does not listen"
        addresses.append(line.removeprefix("listening on ").strip())
    return addresses
