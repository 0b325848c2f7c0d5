"""Method style reaches what the class lets it, and a caller's mistake never harms the actor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from papyra import Actor, ActorProxy, AskTimeout, ProxyCall, ProxyGetAttr
from papyra.messages import DeadLetterReason
from tests.unit.runtime.actors import RESTART, Hold

if TYPE_CHECKING:
    from collections.abc import Collection

    from papyra import ActorSystem


class Settings:
    def __init__(self) -> None:
        self.rate = 7
        self._hidden = "secret"


class Account(Actor):
    def __init__(self) -> None:
        self.balance = 0
        self.settings = Settings()
        self._pin = "1234"

    async def deposit(self, amount: int, *, times: int = 1) -> int:
        self.balance += amount * times
        return self.balance

    def peek(self) -> int:
        return self.balance

    def get(self) -> str:
        return "a method of this name"

    async def hold(self, hold: Hold) -> None:
        hold.begun.set()
        await hold.release.wait()

    def fail(self) -> None:
        raise LookupError("from the method")


class Guarded(Account):
    proxied: ClassVar[Collection[str] | None] = frozenset({"peek"})


@pytest.fixture
def proxy(system: ActorSystem) -> Any:
    proxy = system.spawn(Account, policy=RESTART).proxy()
    assert isinstance(proxy, ActorProxy)
    return proxy


async def test_methods_are_called_sync_or_async(proxy: Any) -> None:
    assert await proxy.deposit(5) == 5
    assert await proxy.deposit(5, times=2) == 15
    assert await proxy.peek() == 15
    assert await proxy.get() == "a method of this name"


async def test_attributes_are_read_and_set(proxy: Any) -> None:
    assert await proxy.balance == 0
    await proxy.balance.set(3)
    assert await proxy.balance.get() == 3
    assert await proxy.settings.rate == 7
    await proxy.settings.rate.set(8)
    assert await proxy.settings.rate == 8


async def test_deferred_calls_are_tells_in_order(proxy: Any) -> None:
    proxy.deposit.defer(1)
    await proxy.deposit.defer(2)
    assert await proxy.peek() == 3


@pytest.mark.parametrize(
    "reach",
    [
        lambda proxy: proxy.nosuch(),
        lambda proxy: proxy.nosuch.get(),
        lambda proxy: proxy.balance(),
        lambda proxy: proxy.settings.nosuch.get(),
        lambda proxy: proxy.context.get(),
        lambda proxy: proxy.context.system.stop("x"),
        lambda proxy: proxy.settings.context.get(),
        lambda proxy: proxy.receive("x"),
        lambda proxy: proxy.on_stop(),
        lambda proxy: proxy.context.set(None),
        lambda proxy: proxy.proxied.set(None),
    ],
    ids=[str(number) for number in range(11)],
)
async def test_what_may_not_be_reached_is_the_callers_error_only(
    system: ActorSystem, proxy: Any, reach: Any
) -> None:
    await proxy.deposit(1)
    with pytest.raises(AttributeError):
        await reach(proxy)
    assert await proxy.peek() == 1
    accounting = system.accounting()
    assert (accounting.failed, accounting.dead) == (0, 1)
    assert system.dead_letters.counts[DeadLetterReason.UNHANDLED] == 1


def test_private_names_are_refused_before_anything_is_sent(proxy: Any, system: ActorSystem) -> None:
    for accessor, name in ((proxy, "_pin"), (proxy.settings, "_hidden"), (proxy, "__wrapped__")):
        with pytest.raises(AttributeError):
            getattr(accessor, name)
    assert system.accounting().accepted == 0


@pytest.mark.parametrize(
    "message",
    [ProxyGetAttr(("_pin",)), ProxyGetAttr(()), ProxyCall(("settings", "__class__")), ProxyGetAttr((1,))],  # type: ignore[arg-type]
)
async def test_private_names_are_refused_by_the_actor_too(system: ActorSystem, message: object) -> None:
    ref = system.spawn(Account, policy=RESTART)
    with pytest.raises(AttributeError):
        await ref.ask(message)
    assert system.accounting().failed == 0


async def test_a_class_may_say_what_is_reached(system: ActorSystem) -> None:
    proxy: Any = system.spawn(Guarded).proxy()
    assert await proxy.peek() == 0
    with pytest.raises(AttributeError, match=r"may not reach Guarded\.deposit"):
        await proxy.deposit(1)


async def test_a_methods_own_exception_is_a_failure(system: ActorSystem, proxy: Any) -> None:
    await proxy.deposit(1)
    with pytest.raises(LookupError, match="from the method"):
        await proxy.fail()
    assert await proxy.peek() == 0
    assert system.accounting().failed == 1


async def test_a_proxy_has_a_timeout(system: ActorSystem) -> None:
    ref, hold = system.spawn(Account), Hold()
    proxy: Any = ref.proxy(timeout=0.01)
    with pytest.raises(AskTimeout):
        await proxy.hold(hold)
    hold.release.set()
    assert await proxy.peek() == 0
    assert "Account" in repr(ref.proxy()) or "$1" in repr(ref.proxy())
    assert "settings.rate" in repr(proxy.settings.rate)
