"""Keep secrets out of the store: which keys name one, and where text gives one away."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from papyra.exceptions import ConfigurationError
from papyra.payloads.secret_text import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEFAULT_WORDS = ("password", "token", "secret", "authorization", "cookie", "api_key")

# apiKey, APIKey, api-key, api_key2 -> api, key. Anything between letters parts words.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
_CACHED_LENGTH = 128


class Redaction:
    """The words that mark a key as secret, and what follows from them for keys and for text.

    A key is secret if a run of its whole words spells one of ``words``, however it is cased and joined:
    ``api_key`` matches ``API-Key``, ``apiKey`` and ``stripe.apikey``; ``token`` does not match ``tokenizer``.
    """

    __slots__ = ("_cached", "_longest", "_spellings", "words")

    def __init__(self, words: Iterable[str] = DEFAULT_WORDS) -> None:
        if isinstance(words, str):
            raise ConfigurationError(f"give a list of words to redact, not the one string {words!r:.100}")
        self.words = tuple(words)
        self._spellings = frozenset(_spelling(word) for word in self.words)
        self._longest = max(map(len, self._spellings), default=0)
        self._cached: Callable[[str], bool] = lru_cache(maxsize=2048)(self._spells_secret)

    def is_secret(self, key: str) -> bool:
        """Whether what stands under this key must not be stored."""
        return self._cached(key) if len(key) <= _CACHED_LENGTH else self._spells_secret(key)

    def redact_text(self, text: str) -> str:
        """Return the text without the values of secret keys and without passwords in URLs.

        Meant for error text, tracebacks and reprs: reads ``key=value``, ``key: value``, ``"key": "a value"``,
        ``Authorization: Bearer …`` and ``scheme://user:password@host``. In doubt it takes too much.
        """
        return redact(text, self.is_secret)

    def _spells_secret(self, key: str) -> bool:
        words = [word.casefold() for word in _WORD.findall(key)]
        for start in range(len(words)):
            run = ""
            for position in range(start, len(words)):
                run += words[position]
                if len(run) > self._longest:
                    break
                if run in self._spellings:
                    return True
        return False


def _spelling(word: object) -> str:
    spelling = "".join(_WORD.findall(word)).casefold() if isinstance(word, str) else ""
    if not spelling:
        raise ConfigurationError(f"not a word to redact: {word!r:.100}")
    return spelling


DEFAULT_REDACTION = Redaction()
