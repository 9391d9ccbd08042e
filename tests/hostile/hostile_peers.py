"""Starts the program `hostile-peer`, whose commands are attacks on the port for peers."""

import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
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
    with ExitStack() as files:
        try:
            for sources, *arguments in commands:
                command = [node.hostile_peer, *map(str, arguments), "--genesis", node.genesis, "--seconds", "3600"]
                command += ["--source", ",".join(sources)] if sources else []
                # A pipe that no one reads would stop the program once it is full.
                log = files.enter_context(tempfile.NamedTemporaryFile("w+"))
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
                process.log = Path(log.name)
                processes.append(process)
            yield processes
            ended = [process for process in processes if process.poll() is not None]
            assert not ended, f"{ended[0].args} ended: {ended[0].log.read_text()[-2000:]}"
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
    prefix = "listening on "
    while True:
        lines = process.log.read_text().splitlines(keepends=True)
        addresses = [
            line.removeprefix(prefix).strip() for line in lines if line.startswith(prefix) and line.endswith("\n")
        ]
        if len(addresses) >= count:
            return addresses[:count]
        assert process.poll() is None, f"{process.args} does not listen: {lines}"
        time.sleep(0.01)
