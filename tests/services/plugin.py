"""Real servers for tests: private ones, started when a test first asks, ended with the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from tests.budget import lacking
from tests.services.finding import Found, Missing, Service, find, given_url
from tests.services.processes import Keeper
from tests.services.redisserver import REDIS, VALKEY

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

KNOWN = (REDIS, VALKEY)


class Server(Protocol):
    """What the plugin asks of a server of any kind."""

    @property
    def label(self) -> str:
        """Tells it from others of its kind."""
        ...

    @property
    def said(self) -> str:
        """The end of its log."""
        ...


class Services:
    """What one test run found and started; starts nothing before it is asked."""

    def __init__(self) -> None:
        self._found: dict[str, Found | Missing] = {}
        self._keeper: Keeper | None = None
        self.servers: list[Server] = []

    @property
    def keeper(self) -> Keeper:
        if self._keeper is None:
            self._keeper = Keeper()
        return self._keeper

    def find(self, service: Service) -> Found | Missing:
        if service.name not in self._found:
            self._found[service.name] = find(service)
        return self._found[service.name]

    def program_of(self, service: Service) -> Path:
        """Return what to run as the services' user; without it the test is skipped, or fails in CI."""
        found = self.find(service)
        if isinstance(found, Missing):
            lacking(str(found))
        return self.keeper.lend(found.path) if found.is_private else found.path

    def report(self) -> list[str]:
        """Return a line for each service: which was taken, or what would bring it."""
        return [
            f"service {service.name}: {self.find(service)}"
            + (f"; shared tests use {service.variable}" if given_url(service) else "")
            for service in KNOWN
        ]

    def close(self) -> None:
        if self._keeper is not None:
            self._keeper.close()


SERVICES = pytest.StashKey[Services]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SERVICES] = Services()


def pytest_report_header(config: pytest.Config) -> list[str]:
    return config.stash[SERVICES].report()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[SERVICES].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers said, beside a test that failed with them."""
    report = yield
    if report.failed:
        for server in item.config.stash[SERVICES].servers:
            report.sections.append((f"log of {server.label}", server.said))
    return report


@pytest.fixture(scope="session")
def services(pytestconfig: pytest.Config) -> Services:
    """Return what finds programs, and keeps what was started."""
    return pytestconfig.stash[SERVICES]
