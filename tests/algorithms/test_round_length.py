"""Stretches cut an epoch of a shard into parts of whole mini-batches, wherever the other workers are."""

from hypothesis import given
from hypothesis import strategies as st

from parsgd.algorithms.common.round_length import examples_in_round

sizes = {"n_rows": st.integers(1, 2000), "batch_size": st.integers(1, 300), "sync_every": st.floats(1e-3, 1.0)}


def ends(n_rows, batch_size, sync_every):
    """Where the parts of one epoch end."""
    found, cursor = [], 0
    while cursor < n_rows:
        cursor += examples_in_round(n_rows, batch_size, sync_every, cursor)
        found.append(cursor)
    return found


@given(**sizes)
def test_parts_are_whole_batches_and_as_equal_as_these_allow(n_rows, batch_size, sync_every):
    found = ends(n_rows, batch_size, sync_every)
    n_batches = -(-n_rows // batch_size)
    assert len(found) == max(1, min(int(1.0 / sync_every + 0.5), n_batches))
    assert found[-1] == n_rows
    assert all(end % batch_size == 0 for end in found[:-1])
    batches = [-(-end // batch_size) for end in found]
    lengths = [after - before for before, after in zip([0, *batches], batches, strict=False)]
    assert max(lengths) - min(lengths) <= 1


@given(**sizes, epoch=st.integers(0, 5), data=st.data())
def test_from_anywhere_the_way_is_to_the_end_of_the_present_part(n_rows, batch_size, sync_every, epoch, data):
    at = data.draw(st.integers(0, n_rows - 1))
    # what lies before the end of the present batch counts as begun
    through = min(n_rows, (at // batch_size + 1) * batch_size)
    following = min(end for end in ends(n_rows, batch_size, sync_every) if end >= through)
    assert examples_in_round(n_rows, batch_size, sync_every, epoch * n_rows + at) == following - at


def test_an_empty_shard_has_no_way_to_go():
    assert examples_in_round(0, 8, 0.1, 0) == 0
