"""Callers, and what they may do."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """Something that a caller may do. `ADMIN`: see the table in docs/access.md."""

    SUBMIT = "submit"
    READ = "read"
    READ_ORIGINAL = "read:original"
    DELETE = "delete"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request.

    Attributes:
        id: a plain word that jobs and audit trail know the caller by, such as `key-camera-7`. It
            holds no name of a person and nothing secret. None where nobody is asked who they are.
        scopes: what was granted.
    """

    id: str | None
    scopes: frozenset[Scope]

    @property
    def sees_all(self) -> bool:
        """Whether the jobs of all callers are open to this one."""
        return Scope.ADMIN in self.scopes

    def may(self, scope: Scope) -> bool:
        """Whether the scope was granted, by itself or as a part of `admin`.

        Originals are no part of it: whoever may read them has to be told so by name.
        """
        return scope in self.scopes or (self.sees_all and scope is not Scope.READ_ORIGINAL)

    def sees(self, owner: str | None) -> bool:
        """Whether a job of that owner is open to this caller; None owns what nobody is to see."""
        return self.sees_all or (owner is not None and owner == self.id)


ANYBODY = Caller(None, frozenset({Scope.SUBMIT, Scope.READ, Scope.DELETE, Scope.ADMIN}))
"""Whoever calls while nobody is asked who they are: all is open but the originals."""


def known_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Those of the words that are scopes of this service."""
    names = {scope.value: scope for scope in Scope}
    return frozenset(names[word] for word in words if word in names)
