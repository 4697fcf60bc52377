"""Rows that stream: dealt in pieces, read through windows, each visited once an epoch."""

import threading
from dataclasses import fields
from itertools import chain

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from parsgd.algorithms.local_sgd import LocalSGD
from parsgd.algorithms.minibatch import MiniBatch
from parsgd.data.sources.array_source import ArraySource
from parsgd.data.sources.part_piece import part_of
from parsgd.data.sources.piece_reader import RowSpan
from parsgd.data.sources.shuffle_buffer import usual_rows
from parsgd.data.sources.streaming_source import StreamingShard
from parsgd.engines.serial import Serial
from parsgd.engines.threads import Threads
from parsgd.errors import DataFileError, IncompatiblePartsError, InvalidArgumentError
from parsgd.models.linear.linear_model import Linear
from parsgd.testing.contracts import check_source
from parsgd.training.loop import fit
from parsgd.utils.row_arrays import rows_of

SIZES = st.lists(st.integers(0, 25), min_size=1, max_size=7).filter(any)
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def parts(shards):
    return [[(span.piece.name, span.first, span.stop) for span in shard.spans] for shard in shards]


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("shuffle_buffer_rows", [1, 8, 20, None])
def test_the_promises_of_a_source_are_kept(blocks, csr, shuffle_buffer_rows):
    check_source(blocks.source((5, 0, 30, 1, 17), csr=csr, shuffle_buffer_rows=shuffle_buffer_rows, weighted=True))


@shared
@given(sizes=SIZES, workers=st.integers(1, 5), window=st.integers(1, 40), epoch=st.integers(0, 3), data=st.data())
def test_every_row_comes_up_once_an_epoch_from_any_start(blocks, sizes, workers, window, epoch, data):
    source = blocks.source(sizes, shuffle_buffer_rows=window)
    shards = source.split(workers, 3)
    orders = [blocks.visited(shard, epoch) for shard in shards]
    assert sorted(chain(*orders)) == list(range(sum(sizes)))
    for shard, order in zip(shards, orders, strict=True):
        start = data.draw(st.integers(0, shard.n_rows))
        again = blocks.visited(shard, epoch, start, keep=True), blocks.visited(shard, epoch, start)
        assert again == (order[start:], order[start:])


@shared
@given(sizes=SIZES, window=st.integers(1, 40))
def test_without_shuffling_one_worker_sees_what_is_stored(blocks, sizes, window):
    (shard,) = blocks.source(sizes, shuffle_buffer_rows=window, shuffle=False).split(1, 3)
    assert blocks.visited(shard, 2) == list(range(sum(sizes)))


@shared
@given(sizes=SIZES, window=st.integers(1, 40))
def test_a_window_is_shuffled_within_itself(blocks, sizes, window):
    # with one piece, the stream is in stored order: a window holds the rows that it covers, and no others
    (shard,) = blocks.source([sum(sizes)], shuffle_buffer_rows=window).split(1, 3)
    order = blocks.visited(shard, 1)
    assert [sorted(order[at : at + window]) for at in range(0, len(order), window)] == [
        list(range(at, min(at + window, len(order)))) for at in range(0, len(order), window)
    ]


def test_epochs_and_seeds_have_orders_of_their_own(blocks):
    (shard,) = blocks.source([40] * 6, shuffle_buffer_rows=32).split(1, 0)
    orders = [blocks.visited(shard, epoch, seed=seed) for epoch, seed in ((0, 1), (1, 1), (0, 2))]
    assert len(set(map(tuple, orders))) == 3
    firsts = [[number // 40 for number in order[:32]] for order in orders]
    assert len({tuple(sorted(set(first))) for first in firsts}) > 1, "pieces come in another order"


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_fit_to_blocks_is_the_fit_to_arrays(blocks, csr, outputs):
    pieces = blocks.pieces((30, 7, 44), n_features=4, csr=csr, weighted=True)
    parts = [piece.x for piece in pieces]
    X = sparse.vstack(parts, format="csr") if csr else np.vstack(parts)
    weight = np.concatenate([piece.weight for piece in pieces])

    def posed(y, weight):
        return (y.astype(np.int64) % 3 if outputs > 1 else np.where(y % 2 == 0, 1.0, -1.0)), weight

    y, ones = posed(np.arange(81.0), None)[0], (1.0,) * outputs
    model = Linear(4, outputs, loss="log_loss", sparse=csr, schedule="constant", eta0=0.1, positive=ones, negative=ones)
    streamed = blocks.source(pieces=pieces, csr=csr, n_features=4, shuffle_buffer_rows=16, shuffle=False, pose=posed)
    stored = ArraySource(rows_of(X, y, weight), shuffle=False)
    ours, theirs = (fit(model, LocalSGD(), Serial(), source, max_epochs=3) for source in (streamed, stored))
    np.testing.assert_array_equal(ours.state, theirs.state)


def test_threads_and_serial_give_the_same_bits_in_rounds_that_end_within_windows(blocks):
    model = Linear(3, loss="squared_error", schedule="constant", eta0=1e-5)
    for algorithm in (LocalSGD(sync_every=0.13), MiniBatch(7)):
        source = blocks.source((30, 7, 44, 12), shuffle_buffer_rows=16)
        states = [
            fit(model, algorithm, engine, source, n_workers=3, max_epochs=2).state for engine in (Serial(), Threads())
        ]
        np.testing.assert_array_equal(*states)


def test_a_batch_across_windows_has_the_rows_of_both(blocks):
    # windows are used again: the rows of the first must have been copied before the second is read
    model = Linear(3, loss="squared_error", schedule="constant", eta0=1e-5)
    source = blocks.source((30, 30), shuffle_buffer_rows=8, shuffle=False)
    X = np.vstack([piece.x for piece in source.pieces])
    stored = ArraySource(rows_of(X, np.arange(60.0)), shuffle=False)
    ours, theirs = (fit(model, MiniBatch(20), Serial(), s, max_epochs=2).state for s in (source, stored))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_whole_pieces_are_dealt_where_that_is_fair(blocks):
    source = blocks.source([20] * 12)
    shards = source.split(4, 5)
    assert [shard.n_rows for shard in shards] == [60] * 4
    assert all(first == 0 and stop == 20 for part in parts(shards) for _, first, stop in part)
    assert parts(source.split(4, 5)) == parts(shards) != parts(source.split(4, 6))


@shared
@given(sizes=SIZES, workers=st.integers(1, 9), seed=st.integers(0, 99))
def test_loads_differ_by_a_tenth_at_most(blocks, sizes, workers, seed):
    shards = blocks.source(sizes).split(workers, seed)
    wanted = sum(sizes) / workers
    assert all(abs(shard.n_rows - wanted) <= max(0.1 * wanted, 1) for shard in shards)


def test_shares_are_kept_and_stored_order_too(blocks):
    source = blocks.source([10] * 10, shuffle=False)
    shards = source.split(3, 1, "contiguous", np.array([5.0, 3.0, 2.0]))
    assert [blocks.visited(shard) for shard in shards] == [list(range(50)), list(range(50, 80)), list(range(80, 100))]
    assert [shard.n_rows for shard in source.split(3, 1, "shuffled", np.array([5.0, 3.0, 2.0]))] == [50, 30, 20]


def test_pieces_of_one_home_stay_together(blocks):
    pieces = blocks.pieces([10] * 12)
    for number, piece in enumerate(pieces):
        piece.home = "left" if number % 2 else "right"
    for workers in (2, 4):
        for shard in blocks.source(pieces=pieces).split(workers, 3):
            assert len({span.piece.home for span in shard.spans}) == 1


def test_more_workers_than_rows_leave_some_without(blocks):
    shards = blocks.source([2, 1]).split(5, 0)
    assert sorted(shard.n_rows for shard in shards) == [0, 0, 1, 1, 1]
    assert [list(shard.blocks(1, 0)) for shard in shards if not shard.n_rows] == [[], []]


def test_workers_of_one_common_order_see_all_rows(blocks):
    shards = blocks.source([10, 11], shuffle_buffer_rows=4).split(2, 3, "common_order")
    orders = [blocks.visited(shard, 1) for shard in shards]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(21))
    assert [shard.n_rows for shard in shards] == [11, 10]


def test_draws_from_all_rows_are_refused_before_anything_is_read(blocks):
    pieces = blocks.pieces([10])
    with pytest.raises(
        IncompatiblePartsError, match=r"StreamingSource.*offers 'shuffled', 'contiguous', 'common_order'"
    ):
        fit(Linear(3), LocalSGD(partition="replicated"), Serial(), blocks.source(pieces=pieces), n_workers=2)
    assert pieces[0].reads == []


@shared
@given(sizes=SIZES, part=st.floats(0.01, 0.99), seed=st.integers(0, 99), data=st.data())
def test_rows_that_were_drawn_are_those_that_are_missing(blocks, sizes, part, seed, data):
    n = max(1, int(sum(sizes) * part))
    source = blocks.source(sizes, csr=data.draw(st.booleans()), shuffle_buffer_rows=9)
    rows, rest = source.draw(n, seed)
    assert len(rows.y) == n == source.n_rows - rest.n_rows
    np.testing.assert_array_equal(rows.y, source.draw(n, seed)[0].y)
    # a second draw, and a split, leave out what either took
    more, rest = rest.draw(1, seed + 1) if rest.n_rows else (rows, rest)
    left = [number for shard in rest.split(3, seed) for number in blocks.visited(shard, 1)]
    assert sorted(left) == sorted(set(range(sum(sizes))) - set(rows.y.astype(int)) - set(more.y.astype(int)))


def test_rows_are_drawn_from_32_pieces_at_most(blocks):
    pieces = blocks.pieces([5] * 100)
    blocks.source(pieces=pieces).draw(50, 3)
    assert sum(len(piece.reads) for piece in pieces) <= 32
    assert len(blocks.source(pieces=pieces).draw(300, 3)[0].y) == 300


def test_rows_cannot_be_written_to_and_have_the_types_that_arrays_have(blocks):
    for csr in (False, True):
        pieces = blocks.pieces([20], csr=csr)
        (shard,) = blocks.source(pieces=pieces, csr=csr, shuffle_buffer_rows=8).split(1, 0)
        block = next(iter(shard.blocks(1, 0)))
        stored = next(iter(ArraySource(rows_of(pieces[0].x, pieces[0].y)).split(1, 0)[0].blocks(1, 0)))
        ours, theirs = (
            [
                (part.dtype, part.ndim, part.flags.writeable, part.flags.c_contiguous)
                for part in (*b.rows.x, b.rows.y, b.rows.weight, b.order)
                if isinstance(part, np.ndarray)
            ]
            for b in (block, stored)
        )
        assert ours == theirs
        shard.close()


def test_a_window_stays_as_it_is_until_the_next_one_is_asked_for(blocks):
    (shard,) = blocks.source([64], shuffle_buffer_rows=16, shuffle=False).split(1, 0)
    for number, block in enumerate(shard.blocks(1, 0)):
        _wait_for_reader(shard)
        np.testing.assert_array_equal(block.rows.y, np.arange(16 * number, 16 * number + 16))
    shard.close()


def _wait_for_reader(shard):
    if shard._ahead.coming is not None:
        shard._ahead.coming[1].result()


def test_at_most_two_windows_are_held(blocks):
    (shard,) = blocks.source([100] * 3, shuffle_buffer_rows=16).split(1, 0)
    seen = {id(block.rows.x.data.base) for epoch in range(3) for block in shard.blocks(1, epoch)}
    rooms = {id(window) for window in (shard._ahead.here[1], *shard._ahead.spare)}
    _wait_for_reader(shard)
    assert len(seen) >= 1
    assert len(rooms | {id(shard._ahead.coming[1].result())}) == 2
    shard.close()


def test_the_next_window_is_read_while_this_one_is_in_use_and_across_epochs(blocks):
    pieces = blocks.pieces([10, 10], step=10)
    (shard,) = blocks.source(pieces=pieces, shuffle_buffer_rows=10, shuffle=False).split(1, 0)
    names = []
    for _ in shard.blocks(1, 0):
        _wait_for_reader(shard)
        names.append(sum(len(piece.reads) for piece in pieces))
    assert names == [2, 3], "after the last window, the first one of the next epoch"
    assert len(blocks.visited(shard, 1)) == 20


def test_rounds_within_a_window_do_not_read_it_again(blocks):
    pieces = blocks.pieces([50], step=50)
    (shard,) = blocks.source(pieces=pieces, shuffle_buffer_rows=100).split(1, 0)
    for epoch in range(3):
        for start in range(0, 50, 5):
            next(iter(shard.blocks(1, epoch, start)))
    assert len(pieces[0].reads) == 1, "a shard that fits in one window stays in memory"
    shard.close()


def test_one_thread_a_shard_reads_and_ends_when_the_shard_is_closed(blocks):
    before = threading.active_count()
    shards = blocks.source([40] * 4, shuffle_buffer_rows=8).split(2, 0)
    for shard in shards:
        next(iter(shard.blocks(1, 0)))
    reading = [thread.name for thread in threading.enumerate() if thread.name.startswith("parsgd-read")]
    assert len(reading) == 2
    for shard in shards:
        shard.close()
        shard.close()
    assert threading.active_count() == before


def test_closing_does_not_wait_for_the_window(blocks):
    held = threading.Event()

    class Slow(blocks.piece):
        def chunks(self):
            for number, chunk in enumerate(super().chunks()):
                if number == 5:
                    held.wait(60)
                assert number < 8, "the reader went on after it was told to stop"
                yield chunk

    piece = Slow("slow", np.ones((300, 3)), np.arange(300.0), 3)
    (shard,) = blocks.source(pieces=[piece], shuffle_buffer_rows=9, shuffle=False).split(1, 0)
    next(iter(shard.blocks(1, 0)))
    closing = threading.Thread(target=shard.close)
    closing.start()
    held.set()
    closing.join(60)
    assert not closing.is_alive()


def test_an_error_is_raised_at_the_window_in_which_it_lies(blocks):
    pieces = blocks.pieces([12, 12, 12], step=4)
    pieces[1].bad = 9
    (shard,) = blocks.source(pieces=pieces, shuffle_buffer_rows=8, shuffle=False).split(1, 0)
    blocks_came = shard.blocks(1, 0)
    assert [next(blocks_came).rows.y.tolist() for _ in range(2)] == [list(range(8)), list(range(8, 16))]
    with pytest.raises(DataFileError, match=r"piece 1 \(rows 9 to 12\): the rows are damaged") as caught:
        next(blocks_came)
    assert any("Shard 0" in note for note in caught.value.__notes__)
    # mended, it is read anew
    pieces[1].bad = None
    assert blocks.visited(shard) == list(range(36))


@pytest.mark.parametrize("engine", [Serial(), Threads()])
def test_a_fit_ends_with_the_error_and_leaves_nothing(blocks, engine):
    pieces = blocks.pieces([12] * 6, step=4)
    pieces[4].bad = 5
    source = blocks.source(pieces=pieces, shuffle_buffer_rows=8)
    with pytest.raises(DataFileError, match="piece 4"):
        fit(Linear(3), LocalSGD(sync_every=0.3), engine, source, n_workers=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("parsgd")]


def test_errors_of_other_kinds_say_where_they_happened(blocks):
    class Odd(blocks.piece):
        def chunks(self):
            raise KeyError("colour")

    (shard,) = blocks.source(pieces=[Odd("odd.csv", np.ones((4, 3)), np.ones(4))]).split(1, 0)
    with pytest.raises(DataFileError, match=r"odd.csv \(rows 1 to 4\): KeyError: 'colour'"):
        blocks.visited(shard)


@pytest.mark.parametrize("claims", [17, 25])
def test_a_piece_of_another_size_than_it_said_is_refused(blocks, claims):
    piece = blocks.piece("file 7", np.ones((20, 3)), np.ones(20), claims=claims)
    (shard,) = blocks.source(pieces=[piece]).split(1, 0)
    with pytest.raises(DataFileError, match=f"file 7: {claims} rows were counted when it was opened"):
        blocks.visited(shard)


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused_with_their_row(blocks, csr, bad):
    pieces = blocks.pieces([20, 20], step=6, csr=csr)
    dense = pieces[1].x.toarray() if csr else pieces[1].x
    dense[13, 2] = bad
    pieces[1].x = type(pieces[1].x)(dense) if csr else dense
    (shard,) = blocks.source(pieces=pieces, csr=csr).split(1, 0)
    with pytest.raises(DataFileError, match=rf"piece 1 \(row 14\): a value.* is {bad}"):
        blocks.visited(shard)
    pieces = blocks.pieces([20])
    pieces[0].y[11] = bad
    (shard,) = blocks.source(pieces=pieces).split(1, 0)
    with pytest.raises(DataFileError, match=rf"piece 0 \(row 12\): the target is {bad}"):
        blocks.visited(shard)


def test_sums_that_overflow_are_no_error(blocks):
    piece = blocks.piece("large", np.full((20, 3), 3e38, dtype=np.float32), np.ones(20), step=20)
    (shard,) = blocks.source(pieces=[piece], dtype="float32").split(1, 0)
    assert len(blocks.visited(shard)) == 20


def test_csr_windows_grow_when_rows_store_more_than_was_thought(blocks):
    pieces = blocks.pieces([30, 30], csr=True)
    source = blocks.source(pieces=pieces, csr=True, values_per_row=0.1, shuffle_buffer_rows=16, shuffle=False)
    (shard,) = source.split(1, 0)
    found = [block.rows.x.data.tolist() for block in shard.blocks(1, 0)]
    shard.close()
    assert list(chain(*found)) == np.concatenate([piece.x.data for piece in pieces]).tolist()


def test_shards_travel_without_threads_and_windows(blocks):
    shard = blocks.source([20, 20], shuffle_buffer_rows=8).split(2, 0)[1]
    expected = blocks.visited(shard, 1, keep=True)
    travelling = shard.portable().__getstate__()
    assert (travelling["_ahead"], travelling["_last_order"]) == (None, None)
    shard.close()
    # the pieces' class is not importable here; what they are is what lies at the other end
    copy = StreamingShard(**{part.name: travelling[part.name] for part in fields(StreamingShard) if part.init})
    assert blocks.visited(copy, 1) == expected


@shared
@given(n=st.integers(1, 30), step=st.integers(1, 9), csr=st.booleans(), data=st.data())
def test_parts_and_spans_have_the_rows_that_are_left(blocks, n, step, csr, data):
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(any)))
    part = part_of(blocks.pieces([n], step=step, csr=csr)[0], kept)
    start = data.draw(st.integers(0, part.n_rows))
    stop = data.draw(st.integers(start, part.n_rows))
    rows = [
        row for posed in RowSpan(part, 0, part.n_rows).cut(start, stop).read(lambda y, w: (y, y[:0])) for row in posed.y
    ]
    assert rows == np.flatnonzero(kept)[start:stop].tolist()


@given(bytes_per_row=st.floats(1, 1e9))
def test_usual_windows_are_powers_of_two_of_bounded_size(bytes_per_row):
    rows = usual_rows(bytes_per_row)
    assert rows & (rows - 1) == 0
    assert rows == 1 or rows * bytes_per_row <= 128 * 2**20


def test_a_window_of_no_rows_is_refused(blocks):
    with pytest.raises(
        InvalidArgumentError, match="'shuffle_buffer_rows' parameter of StreamingSource must be an int >= 1"
    ):
        blocks.source([3], shuffle_buffer_rows=0)
