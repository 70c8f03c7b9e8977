"""The three ways in which a batch does not go on. Done is simply returning.

Ingest raises Refused (the client must not send it again as it is) or Later (the client shall retry).
Sinks raise Later (the trigger redelivers) or Never (the record can't ever be stored).
Ground floor: only `shared.runtime` and `shared.delivery` turn these into answers.
"""

from dataclasses import dataclass

from shared.contract import RETRY_AFTER_SECONDS, Reason


@dataclass(eq=False)
class Refused(Exception):
    """The request is at fault. `status` is what the raiser suggests; the edge decides on the form. `retry_after`: seconds after which it may do (429)."""

    reason: Reason
    detail: str
    status: int = 400
    retry_after: int | None = None
    unpacked: int = 0
    """Bytes that were decompressed until it was clear: work that was done for the sender, and counts as his."""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(eq=False)
class Later(Exception):
    """We, or something we need, are in trouble: nothing was promised, whoever sent it sends it again."""

    detail: str
    retry_after: int = RETRY_AFTER_SECONDS
    reason: Reason = Reason.UNAVAILABLE
    """For metrics: the client is told `detail`."""

    def __str__(self) -> str:
        return self.detail


class Trouble(Later):
    """The backend itself is in trouble, whoever's data it is: away, silent, failing, or wrongly set up. What a circuit breaker counts."""


@dataclass(eq=False)
class Never(Exception):
    """The backend will never take this. `named`: it said why; without, only the success of a record that is surely good shows that the data is at fault."""

    reason: Reason
    detail: str
    named: bool = True
    status: str = ""
    """The backend's own code, if it is the one that refuses."""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
