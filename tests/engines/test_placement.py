"""Whose rows are worked on by whom: everybody's by somebody, as long as there is anybody."""

from hypothesis import given
from hypothesis import strategies as st

from parsgd.engines.placement import Placement, assign_by_locality

ROWS = st.lists(st.integers(0, 50), min_size=1, max_size=12)
EVENTS = st.lists(st.tuples(st.sampled_from(["remove", "join"]), st.integers(0, 5)), max_size=12)


@given(ROWS, st.integers(1, 4), EVENTS)
def test_every_worker_is_on_one_host_that_is_there_or_nobody_is(rows, n_hosts, events):
    placement = Placement(rows, range(n_hosts))
    up = set(range(n_hosts))
    for event, host in events:
        getattr(placement, event)(host)
        up = up - {host} if event == "remove" else up | {host}
        assert set(placement.available) == up
        for worker in range(len(rows)):
            assert placement.host_of(worker) in (up or {None})
        assert sum(placement.loads[host] for host in up) == (sum(rows) + len(rows)) * bool(up)


@given(ROWS, st.integers(2, 4))
def test_a_host_that_comes_back_has_its_workers_again(rows, n_hosts):
    placement = Placement(rows, range(n_hosts))
    before = list(placement.hosts)
    placement.remove(1)
    assert 1 not in placement.hosts
    placement.join(1)
    assert placement.hosts == before


@given(ROWS, st.integers(1, 3))
def test_a_new_host_relieves_the_busiest_and_ends_up_with_no_more_than_they_had(rows, n_hosts):
    placement = Placement(rows, range(n_hosts))
    most = max(placement.loads[host] for host in range(n_hosts))
    placement.join("new")
    assert max(placement.loads[host] for host in placement.available) <= most


def test_orphans_go_to_who_has_least_to_do():
    placement = Placement([10, 1, 5, 3], ["a", "b", "c", "d"])
    placement.remove("a")
    assert placement.host_of(0) == "b"
    placement.remove("c")
    assert placement.host_of(2) == "d"


@given(st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=12), st.integers(1, 4))
def test_wishes_are_granted_as_far_as_all_have_their_share(wishes, n_hosts):
    seats = assign_by_locality(wishes, range(n_hosts))
    share = -(-len(wishes) // n_hosts)
    assert all(seats.count(host) <= share for host in range(n_hosts))
    for host in range(n_hosts):
        granted = sum(seat == wish == host for seat, wish in zip(seats, wishes, strict=True))
        assert granted == min(wishes.count(host), share)


@given(st.integers(1, 12), st.integers(1, 4))
def test_who_wishes_for_nothing_is_dealt_in_turn(n_workers, n_hosts):
    assert assign_by_locality([None] * n_workers, range(n_hosts)) == [worker % n_hosts for worker in range(n_workers)]


def test_homes_can_be_given():
    placement = Placement([1, 1, 1], ["a", "b"], homes=["b", "b", "a"])
    assert [placement.host_of(worker) for worker in range(3)] == ["b", "b", "a"]
