"""Fixtures of pytest: `chain_testnet`, and `chain_testnets` for several or other ones.

The marker `chain_testnet` has the arguments of `chain.testnet`: `@pytest.mark.chain_testnet(4, automine=True)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from .testing import Testnet, testnet


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chain_testnet(nodes, **options): the testnet of the fixture `chain_testnet`")


@pytest.fixture
def chain_testnet(request: pytest.FixtureRequest) -> Iterator[Testnet]:
    """A testnet of the test: three nodes of `dev`, unless the marker `chain_testnet` has other arguments."""
    marker = request.node.get_closest_marker("chain_testnet")
    arguments, options = (marker.args, marker.kwargs) if marker else ((), {})
    with testnet(*arguments, **options) as running:
        yield running


@pytest.fixture
def chain_testnets() -> Iterator[Callable[..., Testnet]]:
    """A function with the arguments of `chain.testnet`, whose testnets are removed after the test."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(testnet(*arguments, **options))
