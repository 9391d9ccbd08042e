"""One testnet for all tests that leave it running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import chain

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def net() -> Iterator[chain.Testnet]:
    with chain.testnet(3) as running:
        yield running
