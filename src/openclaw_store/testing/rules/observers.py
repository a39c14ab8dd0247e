"""What observers saw: each stream is a stretch of the history, from where it began, without a gap.

The six guarantees, and what breaks each: ordered (a change comes after a later one), unique (it comes twice), reliable
(a revision is left out, or something comes that is not in the history), atomic (a revision is left in the middle),
resumable (a watch with a bookmark does not go on right after it), bookmarked (the bookmark says more, or less, than
what was handed out).
"""

from bisect import bisect_right
from collections.abc import Iterator

from openclaw_store.domain.change import Change
from openclaw_store.testing.entries import Sight, Stream, sight_of
from openclaw_store.testing.rules.evidence import Evidence
from openclaw_store.testing.stories import Finding, Rule


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield for each observer the first thing that it should have seen otherwise. What was compacted is passed over."""
    changes, floor = evidence.stored.changes, evidence.stored.floor
    for stream in evidence.history.streams:
        start = max(stream.start, floor)
        place = bisect_right(changes, start, key=_revision)
        sights = stream.sights if start == stream.start else [one for one in stream.sights if one.revision > floor]
        problem = _first_problem(stream, sights, changes, place, start)
        if problem is not None:
            seen, text = problem
            near = changes[max(0, place + seen - 2) : place + seen + 3]
            told = ", ".join(_short(one) for one in sights[max(0, seen - 2) : seen + 3])
            what = f"{stream.client}'s watch from revision {stream.start} on: {text}. It gave ... {told} ..."
            yield Finding(Rule.OBSERVERS, what, changes=tuple(near))


def _first_problem(
    stream: Stream, sights: list[Sight], changes: list[Change], place: int, start: int
) -> tuple[int, str] | None:
    whole = start
    for number, sight in enumerate(sights):
        wanted = changes[place + number] if place + number < len(changes) else None
        if wanted is None or sight_of(wanted, sight.bookmark) != sight:
            before = sights[number - 1] if number else None
            resumed = stream.resumed and start == stream.start
            return number, _what_is_wrong(sight, wanted, before, resumed=resumed)
        following = changes[place + number + 1] if place + number + 1 < len(changes) else None
        if following is None or following.revision != sight.revision:
            whole = sight.revision
        if sight.bookmark != whole:
            return number, f"not bookmarked: after {_short(sight)} it stands at {sight.bookmark}, not at {whole}"
    return None


def _what_is_wrong(sight: Sight, wanted: Change | None, before: Sight | None, *, resumed: bool) -> str:
    place = (sight.revision, sight.seq)
    if before is not None and place == (before.revision, before.seq):
        return f"not unique: {_short(sight)} came twice"
    if before is not None and place < (before.revision, before.seq):
        return f"not ordered: {_short(sight)} came after {_short(before)}"
    if wanted is None or place == (wanted.revision, wanted.seq):
        return f"not reliable: {_short(sight)} is not what the history holds"
    missing = f"{_short(sight)} came where {wanted.revision}.{wanted.seq} should have"
    if before is None and resumed:
        return f"not resumable: {missing}"
    return f"not {'atomic' if wanted.seq or sight.revision == wanted.revision else 'reliable'}: {missing}"


def _short(sight: Sight) -> str:
    return f"{sight.revision}.{sight.seq} {sight.entity_id} {sight.new_status or sight.op}"


def _revision(change: Change) -> int:
    return change.revision
