"""A batch whose first try may be in the topic keeps its id when its client sends it again."""

from shared.resent import MOST, SECONDS, Resent


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_same_batch_of_the_same_tenant_has_the_same_id() -> None:
    resent = Resent()
    assert not resent.id_of("a", b"batch")
    resent.remember("a", b"batch", "1")
    assert resent.id_of("a", b"batch") == "1"
    assert not resent.id_of("a", b"another")
    assert not resent.id_of("b", b"batch"), "another tenant's"


def test_what_is_in_the_topic_for_sure_is_another_batch_when_it_comes_again() -> None:
    resent = Resent()
    resent.remember("a", b"batch", "1")
    resent.forget("a", b"batch")
    assert not resent.id_of("a", b"batch")


def test_it_is_remembered_for_a_while_after_the_last_try() -> None:
    clock = Clock()
    resent = Resent(clock)
    resent.remember("a", b"batch", "1")
    clock.now += SECONDS - 1
    resent.remember("a", b"batch", "1")
    clock.now += SECONDS - 1
    assert resent.id_of("a", b"batch") == "1"
    clock.now += 1
    assert not resent.id_of("a", b"batch")
    assert not resent._ids


def test_no_more_are_remembered_than_fit() -> None:
    resent = Resent()
    for number in range(MOST + 5):
        resent.remember("a", str(number).encode(), str(number))
    assert len(resent._ids) == MOST
    assert (resent.id_of("a", b"4"), resent.id_of("a", b"5")) == ("", "5")
