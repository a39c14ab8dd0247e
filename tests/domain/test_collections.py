"""The persistent collections behave as the plain ones they stand for, whatever the batches."""

from hypothesis import given
from hypothesis import strategies as st

from openclaw_store.domain.frozen_map import FrozenMap
from openclaw_store.domain.ids import uuid7_hex
from openclaw_store.domain.sorted_run import SortedRun

KEYS = st.integers(0, 40).map(str)
BATCHES = st.lists(st.dictionaries(KEYS, st.none() | st.integers(), max_size=20), max_size=8)
RANKED = st.tuples(st.integers(0, 30), KEYS)


@given(BATCHES)
def test_a_frozen_map_follows_a_dictionary_and_old_ones_stay(batches: list[dict[str, int | None]]) -> None:
    plain: dict[str, int] = {}
    frozen: FrozenMap[str, int] = FrozenMap()
    for batch in batches:
        before, content = frozen, dict(plain)
        frozen = frozen.changed(batch)
        for key, value in batch.items():
            if value is None:
                plain.pop(key, None)
            else:
                plain[key] = value
        assert frozen == plain
        assert len(frozen) == len(plain)
        assert before == content
        assert all(
            frozen.get(key) == plain.get(key) and (key in frozen) == (key in plain) for key in map(str, range(41))
        )


def test_a_frozen_map_grows_its_shards() -> None:
    frozen: FrozenMap[int, int] = FrozenMap()
    for start in range(0, 5000, 500):
        frozen = frozen.changed({key: key for key in range(start, start + 500)})
    assert frozen == {key: key for key in range(5000)}


def test_a_batch_copies_little_of_a_large_frozen_map() -> None:
    before: FrozenMap[int, int] = FrozenMap({key: key for key in range(200_000)})
    after = before.changed(dict.fromkeys(range(0, 64_000, 1000)))
    known = {id(block) for block in before._blocks} | {id(shard) for shard in before._shards()}
    blocks = [block for block in after._blocks if id(block) not in known]
    shards = [shard for block in blocks for shard in block if id(shard) not in known]
    assert len(after) == 200_000 - 64
    assert 0 < len(shards) <= 64
    copied = len(after._blocks) + sum(map(len, blocks)) + sum(map(len, shards))
    assert copied < 64 * 100


@given(st.lists(st.tuples(st.sets(RANKED), st.sets(RANKED)), max_size=6))
def test_a_sorted_run_follows_a_sorted_set(batches: list[tuple[set[tuple[int, str]], set[tuple[int, str]]]]) -> None:
    plain: set[tuple[int, str]] = set()
    run = SortedRun()
    for added, removed in batches:
        before, content = run, sorted(plain)
        run = run.changed(added, removed)
        plain = (plain - removed) | added
        assert list(run) == sorted(plain)
        assert len(run) == len(plain)
        assert list(before) == content


def test_a_sorted_run_splits_and_empties_its_chunks() -> None:
    items = [(number * 7919 % 5000, str(number)) for number in range(2000)]
    run = SortedRun().changed(items, ())
    assert list(run) == sorted(items)
    assert list(run.changed((), items[:1999])) == [items[1999]]
    assert list(run.changed((), items)) == []


def test_ids_are_version_7_and_rise() -> None:
    ids = [uuid7_hex() for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert all(len(one) == 32 and one[12] == "7" and one[16] in "89ab" for one in ids)
