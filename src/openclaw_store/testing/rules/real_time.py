"""Answers respect real time: what ended before something else began has the lower revision, and is seen by it.

What is promised, and to whom:

- A write that began after another had been answered, by whichever client, has the higher revision.
- A client's snapshot never goes back, and holds each of its own writes when the call returns. So whatever a client
  reads was not yet outdated at the revision that its snapshot had when the read began.
- After ``get_latest_state`` and ``refresh_from_database`` the snapshot holds what anybody was told before the call;
  after ``wait_for(revision)`` that revision. Other reads may be older than what other clients were told.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from openclaw_store.domain.change import Change
from openclaw_store.testing.entries import Call, Outcome
from openclaw_store.testing.rules.evidence import Evidence, Match
from openclaw_store.testing.stories import Finding, Rule, seen_line

_FRESH: Final = frozenset({"get_latest_state", "refresh_from_database"})


class _Reached(msgspec.Struct):
    """How far somebody's view had come when a call ended."""

    revision: int
    call: Call


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield what is out of order, and reads of what was not there or not there any more."""
    yield from _order(evidence)
    for one in evidence.missing:
        if not one.own:
            what = f"{one.call.client} was shown {seen_line(one.seen)}, which no change ever made."
            yield Finding(Rule.REAL_TIME, what, ((one.seen.kind, one.seen.entity_id),), (one.call,))
    for match in evidence.matches:
        yield from _outdated(match)


def _order(evidence: Evidence) -> Iterator[Finding]:
    """Pass over all calls in the order of their beginnings, and take in those that ended before each."""
    changes = {id(call): [match for match in matches if match.own] for call, matches in evidence.by_call()}
    ended = sorted((call for call in evidence.history.calls if call.ended is not None), key=_end)
    newest: _Reached | None = None
    clients: dict[str, _Reached] = {}
    place = 0
    for call in evidence.history.calls:
        while place < len(ended) and _end(ended[place]) < call.began:
            newest = _moved(newest, ended[place], _last_of(changes.get(id(ended[place]), [])))
            _see(clients, ended[place])
            place += 1
        yield from _of_client(call, clients)
        yield from _of_anybody(call, newest, changes.get(id(call), []))


def _of_client(call: Call, clients: Mapping[str, _Reached]) -> Iterator[Finding]:
    known = clients.get(call.client)
    if known is not None and call.before is not None and call.before < known.revision:
        what = f"{call.client}'s snapshot went back from revision {known.revision} to {call.before}."
        yield Finding(Rule.REAL_TIME, what, calls=(known.call, call))
    if call.outcome is not Outcome.ANSWERED:
        return
    after = call.after if call.snapshot is None else call.snapshot.version
    least = max(call.before or 0, (call.asked.revision or 0) if call.operation == "wait_for" else 0)
    if after is not None and after < least:
        what = f"{call.client}'s snapshot should hold revision {least} when {call.operation} returns, it holds {after}."
        yield Finding(Rule.REAL_TIME, what, calls=(call,))


def _of_anybody(call: Call, newest: _Reached | None, matches: list[Match]) -> Iterator[Finding]:
    if newest is None or call.outcome is not Outcome.ANSWERED:
        return
    after = call.after if call.snapshot is None else call.snapshot.version
    if call.operation in _FRESH and after is not None and after < newest.revision:
        what = (
            f"{call.client}'s {call.operation} gave revision {after}; {newest.revision} had been acknowledged before."
        )
        yield Finding(Rule.REAL_TIME, what, calls=(newest.call, call))
    for match in matches:
        if match.change.revision <= newest.revision:
            what = (
                f"{call.client}'s {call.operation} began after revision {newest.revision} had been acknowledged,"
                f" and its own is {match.change.revision}."
            )
            yield Finding(Rule.REAL_TIME, what, calls=(newest.call, call), changes=(match.change,))
            return


def _outdated(match: Match) -> Iterator[Finding]:
    call, seen = match.call, match.seen
    if match.own:
        if call.after is not None and match.change.revision > call.after:
            what = (
                f"{call.client}'s {call.operation} returned when its snapshot was at revision {call.after},"
                f" without its own revision {match.change.revision}."
            )
            yield Finding(Rule.REAL_TIME, what, calls=(call,), changes=(match.change,))
    elif match.following is not None and match.following.revision <= (call.before or 0):
        changes: tuple[Change, ...] = (match.change, match.following)
        what = (
            f"{call.client} was shown {seen_line(seen)} when its snapshot was at revision {call.before};"
            f" revision {match.following.revision} had ended that."
        )
        yield Finding(Rule.REAL_TIME, what, calls=(call,), changes=changes)


def _see(clients: dict[str, _Reached], call: Call) -> None:
    known = clients.get(call.client)
    if call.after is not None and (known is None or known.revision < call.after):
        clients[call.client] = _Reached(call.after, call)


def _moved(newest: _Reached | None, call: Call, revision: int) -> _Reached | None:
    if revision and (newest is None or newest.revision < revision):
        return _Reached(revision, call)
    return newest


def _last_of(matches: list[Match]) -> int:
    return max((match.change.revision for match in matches), default=0)


def _end(call: Call) -> int:
    return call.began if call.ended is None else call.ended
