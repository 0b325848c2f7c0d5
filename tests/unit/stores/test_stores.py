from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.exceptions import ConfigurationError, StoreUnavailableError
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.stores import masked, open_store, store_from_path
from papyra.testing.records import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.base import BasePersistence

HEADER = b'{"seq":0,"kind":"header"'


def path_of(backend: PersistenceBackend) -> Path:
    assert isinstance(backend, JsonFilePersistence)
    return Path(backend.path)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("ndjson:log.ndjson", "log.ndjson"),
        ("ndjson:./a/log.ndjson", "a/log.ndjson"),
        ("NDJSON:log", "log"),
        ("ndjson:50%25.ndjson", "50%25.ndjson"),
        ("ndjson:with space?x=1#y", "with space?x=1#y"),
        ("ndjson:ndjson:x", "ndjson:x"),
        ("ndjson:läg.ndjson", "läg.ndjson"),
        ("ndjson:~/log", "home/log"),
        ("ndjson:a~/log", "a~/log"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_follows_the_scheme_is_a_path_as_it_stands(url: str, path: str, here: Path) -> None:
    assert here / path_of(open_store(url)) == here / path


def test_an_absolute_path_may_be_written_with_slashes_like_a_url(here: Path) -> None:
    assert path_of(open_store(f"ndjson:{here}/x")) == here / "x"
    assert path_of(open_store(f"ndjson://{here}/x")) == here / "x"


@pytest.mark.usefixtures("here")
def test_opening_changes_nothing_on_disk(here: Path) -> None:
    open_store("ndjson:log.ndjson")
    assert list(here.iterdir()) == []


def test_memory_is_a_store_too() -> None:
    policy = RetentionPolicy(max_records=7)
    backend = open_store("memory:", retention_policy=policy)
    assert isinstance(backend, InMemoryPersistence)
    assert backend.retention == policy
    assert isinstance(open_store("memory://"), InMemoryPersistence)


@pytest.mark.usefixtures("here")
def test_retention_reaches_the_backend(here: Path) -> None:
    (here / "log").touch()
    policy = RetentionPolicy(max_records=7)
    assert open_store("ndjson:log", retention_policy=policy).retention == policy


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        (
            "segments:log",
            {"max_byte": 1},
            r"segments:log: there is no option 'max_byte'; there are max_bytes, ",
        ),
        ("segments:log", {"max_bytes": "5 MB"}, "max_bytes must be a whole number above 0, not '5 MB'"),
        ("segments:log", {"max_files": 0}, "max_files must be a whole number above 0, not 0"),
        ("segments:log", {"fsync": "allways"}, "'allways' is not a fsync policy; it is one of always, inter"),
        ("segments:log", {"fsync_interval_seconds": 0}, "fsync_interval_seconds must be a number of seconds"),
        ("segments:log", {"clock": None}, "there is no option 'clock'"),
        ("ndjson:log", {"fsync": "allways"}, "'allways' is not a fsync policy"),
        ("ndjson:log", {"shared": True}, "there is no option 'shared'; there are fsync, "),
        ("memory:", {"fsync": "os"}, "this store takes none"),
    ],
)
@pytest.mark.usefixtures("here")
def test_an_option_that_a_store_does_not_take_is_refused_with_those_it_does(
    url: str, options: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_store(url, options=options)
    assert said in str(refused.value)


async def test_options_reach_the_store(here: Path) -> None:
    options = {"max_bytes": 2_000, "max_files": 2, "fsync": "os", "shared": True}
    async with opened("segments:log", options=options) as store:
        for number in range(60):
            await store.append([event(number)])
        assert store.capabilities.is_shared
    found = sorted((here / "log").glob("event*.ndjson"))
    assert len(found) == 2
    assert max(file.stat().st_size for file in found) <= 2_000


@pytest.mark.parametrize("has_options", [False, True])
async def test_i4_a_tool_takes_no_segment_away_that_the_store_s_own_system_keeps(
    here: Path, *, has_options: bool
) -> None:
    async with opened("segments:log", options={"max_bytes": 2_000, "max_files": 100}) as store:
        for number in range(60):
            await store.append([event(number)])
    held = len(list((here / "log").glob("event-*.ndjson")))
    assert held > 5
    options = {"max_bytes": 2_000} if has_options else {}
    async with opened("segments:log", options=options, is_bounded=False) as store:
        for number in range(60, 120):
            await store.append([event(number)])
        assert len(await store.list_events(limit=200)) == 120
    async with cast("BasePersistence", store_from_path("log")) as store:
        await store.append([event(number) for number in range(120, 140)])
        assert len(await store.list_events(limit=200)) == 140


def opened(url: str, **options: Any) -> BasePersistence:
    return cast("BasePersistence", open_store(url, **options))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "not a store URL"),
        ("log.ndjson", "a path alone goes with --path"),
        ("./log.ndjson", "a path alone goes with --path"),
        ("/var/a:b", "a path alone goes with --path"),
        ("ndjson:", "path is empty"),
        ("ndjson:  ", "path is empty"),
        ("ndjson:a\0b", "zero byte"),
        ("ndjson://host/path", "write ndjson:/host/path or ndjson:./host/path"),
        ("ndjson://host", "no host"),
        ("ndjson:~nobody-of-this-name/x", "no such home folder"),
        ("memory:name", "memory: takes no name"),
        ("segments:", "write segments:PATH"),
        ("segments://host/path", "write segments:/host/path or segments:./host/path"),
        ("redis://h:6379/0?wait_replicas=two", "wait_replicas in a Redis URL must be a number, not 'two'"),
        ("redis://h:6379/0?durability=wait", "set wait_replicas"),
        ("redis://h:sixty/0", "write redis://USER:PASSWORD@HOST:PORT/DB"),
        ("redis://h/0?system_id=a{b}", "system_id must be text without spaces and braces"),
        ("django:default", "python manage.py papyra_doctor"),
        ("file:/x", "write ndjson:PATH"),
        (
            "sqlite:///x",
            "no kind of store is called 'sqlite'; write ndjson:PATH, segments:PATH, redis://HOST",
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_url_that_opens_nothing_says_what_would(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_store(url)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://ana:s3cret@host:port/0",
        "redis://ana:9/s3cret@host/0",
        "rediss://:[s3cret@host/0",
        "redis://ana:s3cret@host/0?password=s3cret&durability=x",
        "x y://ana:s3cret@host",
        "memory://ana:s3cret@host",
    ],
)
def test_a_refusal_never_repeats_a_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_store(url)
    assert "s3cret" not in str(refused.value)


def test_masking_keeps_the_rest() -> None:
    assert masked("redis://ana:p@ss/wd@host:6379/0") == "redis://…@host:6379/0"
    assert masked("redis://host/0?password=s3cret&db=1") == "redis://host/0?password=…&db=1"
    assert masked("redis://host:6379/0") == "redis://host:6379/0"
    assert masked("ndjson:///logs/a@b") == "ndjson:///logs/a@b"


@given(st.text(max_size=60))
def test_any_text_opens_something_or_is_refused_in_our_words(url: str) -> None:
    with suppress(ConfigurationError):
        open_store(url)


@pytest.mark.usefixtures("here")
def test_c6_a_missing_path_is_refused_where_it_has_to_exist(here: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no store at nowhere\.ndjson"):
        store_from_path("nowhere.ndjson")
    with pytest.raises(ConfigurationError, match=r"there is no store at nowhere\.ndjson"):
        open_store("ndjson:nowhere.ndjson", must_exist=True)
    with pytest.raises(ConfigurationError, match=r"there is no store at nowhere/log\.ndjson"):
        store_from_path("nowhere/log.ndjson")
    assert list(here.iterdir()) == []


def test_a_part_of_the_path_that_is_a_file_or_a_circle_or_too_long_is_no_store(here: Path) -> None:
    (here / "file").touch()
    (here / "loop").symlink_to(here / "loop")
    (here / "dangling").symlink_to(here / "gone")
    for path in ("file/log", "loop", "dangling", "x" * 5000):
        with pytest.raises(ConfigurationError, match="there is no store at"):
            store_from_path(path)


def test_a_path_is_judged_by_looking(here: Path) -> None:
    (here / "folder").mkdir()
    assert isinstance(store_from_path("folder"), RotatingFilePersistence)
    with pytest.raises(ConfigurationError, match="is a folder; segments:folder opens"):
        open_store("ndjson:folder")
    legacy = b'{"kind":"event","timestamp":1.0}\n'
    for name, content in (
        ("single", legacy),
        ("old", legacy),
        ("old.1", legacy),
        ("new", HEADER),
        ("new.1", b""),
    ):
        (here / name).write_bytes(content)
    assert isinstance(store_from_path("single"), JsonFilePersistence)
    assert isinstance(store_from_path("old"), RotatingFilePersistence)
    assert isinstance(store_from_path("new"), JsonFilePersistence), "new.1 is something put aside"
    (here / "new.segments").mkdir()
    assert isinstance(store_from_path("new"), RotatingFilePersistence)


def test_a_set_that_is_not_there_is_refused_where_it_must_exist(here: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no store"):
        open_store("segments:nothing", must_exist=True)
    assert isinstance(open_store("segments:nothing"), RotatingFilePersistence)
    assert list(here.iterdir()) == []


def test_what_is_neither_file_nor_folder_holds_no_store(here: Path) -> None:
    os.mkfifo(here / "pipe")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket")
        for path in ("pipe", "socket", "/dev/null"):
            with pytest.raises(ConfigurationError, match="neither a file nor a folder"):
                store_from_path(path)


def test_a_link_to_a_store_is_that_store(here: Path) -> None:
    (here / "log").touch()
    (here / "link").symlink_to("log")
    assert path_of(store_from_path("link")).name in {"link", "log"}


@pytest.fixture
def become_nobody() -> Iterator[Callable[[], None]]:
    """Return what makes root one who owns nothing, for root may look everywhere; nobody else needs it."""
    user = os.geteuid()
    yield lambda: os.seteuid(65_534 if user == 0 else user)
    os.seteuid(user)


def test_a_folder_that_may_not_be_searched_is_unavailable_and_not_missing(
    here: Path, become_nobody: Callable[[], None]
) -> None:
    for name, mode in ((".", 0o755), ("open", 0o755), ("closed", 0o000)):
        (here / name).mkdir(exist_ok=True)
        (here / name).chmod(mode)
    become_nobody()
    with pytest.raises(ConfigurationError, match="there is no store"):
        store_from_path("open/log")
    with pytest.raises(StoreUnavailableError, match="permission"):
        store_from_path("closed/log")
