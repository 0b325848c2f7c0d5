"""Events as damaged, foreign or future histories may hold them."""

from __future__ import annotations

from hypothesis import strategies as st

from papyra.persistence.models import EventType, PersistedEvent

_KEYS = [
    *("type", "decision", "closes", "last_seen", "error", "incarnation", "kind", "first", "last", "cause"),
    *("restart", "of", "reason", "accounting", "accepted", "text", "parent"),
]
_PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "s", "event", "restart"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6),
    max_leaves=8,
)


def odd_events() -> st.SearchStrategy[list[PersistedEvent]]:
    """Return lists of events of every type with payloads, times and numbers that make no sense."""
    return st.lists(
        st.builds(
            lambda type_, payload, when, seq: PersistedEvent("s", "s:1", type_, payload, when, seq=seq),
            st.sampled_from([*(each.value for each in EventType), "Ours"]),
            _PAYLOADS,
            st.floats(),
            st.integers(),
        ),
        max_size=8,
    )
