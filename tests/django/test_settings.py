"""``PAPYRA``: read at each use, every key checked, every mistake named with what would do."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import checks
from django.test.utils import override_settings

from django_papyra.backend import DjangoPersistence
from django_papyra.conf import OnFailure, PapyraSettings, find_problems, get_settings
from django_papyra.runtime import close_backend, get_backend
from papyra.exceptions import ConfigurationError
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.models import PersistenceRecoveryConfig, PersistenceRecoveryMode, RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.startup import PersistenceStartupConfig, PersistenceStartupMode
from papyra.testing.records import event

EVERY_KEY: list[tuple[str, dict[str, Any], object]] = [
    ("backend", {"BACKEND": "memory:"}, "memory:"),
    ("options", {"OPTIONS": {"using": "other", "writer": "inline"}}, {"using": "other", "writer": "inline"}),
    ("system", {"SYSTEM": "shop.actors.populate"}, "shop.actors.populate"),
    ("system_id", {"SYSTEM_ID": "orders"}, "orders"),
    ("run_in_asgi", {"RUN_IN_ASGI": True}, True),
    ("messages", {"MESSAGES": ["shop.messages"]}, ("shop.messages",)),
    ("startup.mode", {"STARTUP": {"mode": "scan_only"}}, PersistenceStartupMode.SCAN_ONLY),
    ("startup.recovery", {"STARTUP": {"recovery": "quarantine"}}, PersistenceRecoveryMode.QUARANTINE),
    ("startup.timeout_seconds", {"STARTUP": {"timeout_seconds": 5}}, 5.0),
    ("startup.on_failure", {"STARTUP": {"on_failure": "refuse"}}, OnFailure.REFUSE),
    ("startup.quarantine_dir", {"STARTUP": {"quarantine_dir": "/q"}}, "/q"),
    ("retention.max_records", {"RETENTION": {"max_records": 0}}, 0),
    ("retention.max_age_seconds", {"RETENTION": {"max_age_seconds": 1.5}}, 1.5),
    ("retention.max_total_bytes", {"RETENTION": {"max_total_bytes": 7}}, 7),
    ("retention.events.max_records", {"RETENTION": {"events": {"max_records": 3}}}, 3),
    ("retention.audits.max_age_seconds", {"RETENTION": {"audits": {"max_age_seconds": 3}}}, 3.0),
    ("retention.dead_letters.max_total_bytes", {"RETENTION": {"dead_letters": {"max_total_bytes": 3}}}, 3),
    ("retention.max_unresolved", {"RETENTION": {"max_unresolved": 9}}, 9),
    ("redact", {"REDACT": ["iban"]}, ("iban",)),
    ("trace_url_template", {"TRACE_URL_TEMPLATE": "https://t/{trace_id}"}, "https://t/{trace_id}"),
]


def value_of(path: str) -> object:
    value: object = get_settings()
    for name in path.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(("path", "papyra", "expected"), EVERY_KEY, ids=[path for path, *_ in EVERY_KEY])
def test_a_key_takes_effect_where_it_is_overridden_and_no_longer(
    path: str, papyra: dict[str, Any], expected: object
) -> None:
    before = value_of(path) if "." not in path or path.count(".") == 1 else None
    with override_settings(PAPYRA=papyra):
        assert find_problems() == []
        assert value_of(path) == expected
    if before is not None:
        assert value_of(path) == before


def test_every_key_is_known_to_these_tests() -> None:
    tested = {path.split(".")[0] for path, *_ in EVERY_KEY}
    assert tested == set(PapyraSettings.__dataclass_fields__)


WRONG: list[tuple[object, str]] = [
    ({"BACKENDS": 1}, "PAPYRA: unknown key 'BACKENDS' (did you mean 'BACKEND'?)"),
    ({"backend": "memory:"}, "PAPYRA: unknown key 'backend' (did you mean 'BACKEND'?)"),
    ({"zzz": 1}, "PAPYRA: unknown key 'zzz' (known: BACKEND, OPTIONS, SYSTEM,"),
    ({7: 1}, "PAPYRA: unknown key 7"),
    ({"STARTUP": {"mod": "recover"}}, "PAPYRA['STARTUP']: unknown key 'mod' (did you mean 'mode'?)"),
    ({"STARTUP": {"mode": "repair"}}, "PAPYRA['STARTUP']['mode']: unknown word 'repair'"),
    (
        {"STARTUP": {"mode": "recove"}},
        "PAPYRA['STARTUP']['mode']: unknown word 'recove' (did you mean 'recover'?)",
    ),
    ({"STARTUP": {"timeout_seconds": 0}}, "PAPYRA['STARTUP']['timeout_seconds']: must be more than 0, not 0"),
    ({"STARTUP": None}, "PAPYRA['STARTUP']: must be a dict, not NoneType"),
    ({"RUN_IN_ASGI": "no"}, "PAPYRA['RUN_IN_ASGI']: must be True or False, not 'no'"),
    ({"RUN_IN_ASGI": 1}, "PAPYRA['RUN_IN_ASGI']: must be True or False, not 1"),
    ({"SYSTEM_ID": "größer"}, "PAPYRA['SYSTEM_ID']: 'größer' is not allowed"),
    ({"SYSTEM_ID": ""}, "PAPYRA['SYSTEM_ID']: '' is not allowed"),
    ({"MESSAGES": "shop"}, "PAPYRA['MESSAGES']: must be a list of texts, not 'shop'"),
    ({"MESSAGES": ["a", 1]}, "PAPYRA['MESSAGES']: must hold texts only, not 1"),
    ({"OPTIONS": []}, "PAPYRA['OPTIONS']: must be a dict with texts as keys, not []"),
    ({"RETENTION": {"max_records": -1}}, "PAPYRA['RETENTION']['max_records']: must be 0 or more, not -1"),
    (
        {"RETENTION": {"max_records": True}},
        "PAPYRA['RETENTION']['max_records']: must be a whole number, not True",
    ),
    (
        {"RETENTION": {"max_age_seconds": float("nan")}},
        "PAPYRA['RETENTION']['max_age_seconds']: must be a number",
    ),
    (
        {"RETENTION": {"events": {"events": {}}}},
        "PAPYRA['RETENTION']['events']: unknown key 'events' (known: max_records, max_age_seconds, ",
    ),
    ("text", "PAPYRA: must be a dict, not str"),
    (None, "PAPYRA: must be a dict, not NoneType"),
]


@pytest.mark.parametrize(("papyra", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_mistake_is_named_with_its_place_and_a_suggestion(papyra: object, message: str) -> None:
    with override_settings(PAPYRA=papyra):
        (problem,) = find_problems()
        assert str(problem).startswith(message)
        with pytest.raises(ConfigurationError) as caught:
            get_settings()
        assert str(caught.value).startswith(message)


def test_every_mistake_is_reported_at_once() -> None:
    with override_settings(PAPYRA={"A": 1, "B": 2, "STARTUP": {"mode": 3, "recovery": "no"}}):
        assert len(find_problems()) == 4


def test_without_the_setting_everything_has_its_default() -> None:
    with override_settings(PAPYRA={}):
        assert get_settings() == PapyraSettings()
        assert get_settings().startup.to_config() == PersistenceStartupConfig(
            PersistenceStartupMode.RECOVER, PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR), 30.0
        )
        assert get_settings().retention.to_policy() == RetentionPolicy()


def test_retention_reads_as_a_policy() -> None:
    with override_settings(PAPYRA={"RETENTION": {"max_records": 5, "audits": {"max_age_seconds": 60}}}):
        policy = get_settings().retention.to_policy()
    assert policy == RetentionPolicy(5, audits=RetentionPolicy(max_age_seconds=60.0))
    assert policy.for_kind(RecordKind.EVENT).max_records == 5


async def test_the_backend_is_made_once_and_anew_for_other_settings() -> None:
    with override_settings(PAPYRA={"BACKEND": "memory:", "RETENTION": {"max_records": 3}}):
        backend = get_backend()
        assert isinstance(backend, InMemoryPersistence)
        assert backend is get_backend()
        assert backend.retention == RetentionPolicy(3)
    assert backend.closed, "what depended on the setting went with it"
    with override_settings(PAPYRA={"OPTIONS": {"using": "other"}, "RETENTION": {"max_records": 3}}):
        other = get_backend()
        assert isinstance(other, DjangoPersistence)
        assert (other.using, other.retention) == ("other", RetentionPolicy(3))
        await close_backend()
        assert other.closed
        assert get_backend() is not other
    await close_backend()


@pytest.mark.parametrize("name", ["json.JsonFilePersistence", "backends.rotating.RotatingFilePersistence"])
@pytest.mark.parametrize("shared", [False, True])
async def test_a_file_store_takes_every_option_of_its_class(
    name: str, tmp_path: Any, *, shared: bool
) -> None:
    options: dict[str, Any] = {"path": tmp_path / "store", "fsync": "os", "overflow": "drop_oldest"}
    if "rotating" in name:
        options |= {"max_bytes": 1_000, "max_files": 3, "shared": shared}
    with override_settings(PAPYRA={"BACKEND": f"papyra.persistence.{name}", "OPTIONS": options}):
        backend = get_backend()
        await backend.append([event(1)])
        assert backend.capabilities.is_shared is options.get("shared", False)
        assert len((await backend.read(RecordQuery(kind=RecordKind.EVENT))).records) == 1
        await close_backend()
    wrong = {"BACKEND": f"papyra.persistence.{name}", "OPTIONS": {**options, "max_byte": 1}}
    with override_settings(PAPYRA=wrong), pytest.raises(ConfigurationError, match="max_byte"):
        get_backend()


async def test_a_store_url_takes_the_options_of_what_it_names(tmp_path: Any) -> None:
    options = {"max_bytes": 2_000, "max_files": 2, "shared": True, "fsync": "os"}
    with override_settings(PAPYRA={"BACKEND": f"segments:{tmp_path}/history", "OPTIONS": options}):
        backend = get_backend()
        for number in range(60):
            await backend.append([event(number)])
        assert backend.capabilities.is_shared
        await close_backend()
    assert len(list((tmp_path / "history").glob("event*.ndjson"))) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_byte": 1}, "PAPYRA['OPTIONS']: unknown key 'max_byte' (did you mean 'max_bytes'?)"),
        ({"max_files": "5"}, "max_files must be a whole number above 0, not '5'"),
        ({"fsync": "never"}, "'never' is not a fsync policy; it is one of always, interval, os"),
        ({"shared": False, "using": "default"}, "unknown key 'using'"),
    ],
)
def test_a_wrong_option_of_segments_is_found_by_manage_py_check(
    tmp_path: Any, options: dict[str, Any], said: str
) -> None:
    with override_settings(PAPYRA={"BACKEND": f"segments:{tmp_path}/history", "OPTIONS": options}):
        found = [message for message in checks.run_checks() if message.id == "papyra.E002"]
        assert len(found) == 1
        assert said in found[0].msg
    assert not (tmp_path / "history").exists()


async def test_a_store_url_opens_what_it_names(tmp_path: Any) -> None:
    with override_settings(PAPYRA={"BACKEND": f"ndjson:{tmp_path}/log.ndjson"}):
        await get_backend().append([event(1)])
        assert (tmp_path / "log.ndjson").exists()
        await close_backend()
    with override_settings(PAPYRA={"BACKEND": "django:other"}):
        backend = get_backend()
        assert isinstance(backend, DjangoPersistence)
        assert backend.using == "other"
        await close_backend()


@pytest.mark.parametrize(
    ("papyra", "message"),
    [
        ({"BACKEND": "shop.nothing.Here"}, "'shop.nothing.Here' cannot be imported"),
        ({"BACKEND": "django_papyra.conf.get_settings"}, "is not a class"),
        ({"BACKEND": "nosuch:thing"}, "nosuch"),
        ({"OPTIONS": {"usin": "default"}}, "unknown key 'usin' (did you mean 'using'?)"),
        ({"OPTIONS": {"writer": "threads"}}, "unknown word 'threads' (did you mean 'thread'?)"),
        ({"OPTIONS": {"using": "nowhere"}}, "there is no database 'nowhere'"),
        ({"BACKEND": "memory:", "OPTIONS": {"using": "default"}}, "unknown key 'using'"),
    ],
)
def test_a_backend_that_cannot_be_made_says_why(papyra: dict[str, Any], message: str) -> None:
    with override_settings(PAPYRA=papyra), pytest.raises(ConfigurationError) as caught:
        get_backend()
    assert message in str(caught.value)
