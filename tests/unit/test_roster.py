"""Which actor gets what, and what becomes of a proposal."""

from __future__ import annotations

import msgspec

from ray_cluster.desk import FORGET_S, Desk
from ray_cluster.lanes import Lanes
from ray_cluster.leases import Inventory, Proposal, Work
from ray_cluster.roster import LEASES_PER_ACTOR, PREFETCH_AHEAD_S, SHORT_S, Roster, Seat


def work(job: str, *, cost_s: float = 10.0, alone: bool = False) -> Work:
    return Work(job, "w1", "p", "standard", "t", cost_s=cost_s, deadline=-1 if alone else 0, alone=alone)


def seated(roster: Roster, name: str, *, offers: int = 3) -> Seat:
    seat = roster.seats[name] = Seat(name, "p")
    seat.begin(0.0)
    seat.tell(said(held=(), open_=range(1, offers + 1), fresh=range(1, offers + 1)), 0.0)
    return seat


def said(*, held: tuple[str, ...], open_: range | tuple[int, ...], fresh: range | tuple[int, ...] = ()) -> Inventory:
    return Inventory("p", 1, held, tuple(open_), tuple((offer, bytes([offer])) for offer in fresh))


def queued(*jobs: Work) -> Lanes:
    lanes = Lanes()
    for job in jobs:
        lanes.add(job)
    return lanes


def matched(roster: Roster, lanes: Lanes, now: float = 0.0) -> list[tuple[str, str]]:
    return [(proposal.actor, proposal.job) for _, proposal in roster.match(lanes, now)]


def test_idle_actors_come_first_and_each_gets_one() -> None:
    roster = Roster()
    seated(roster, "a")
    seated(roster, "b")
    lanes = queued(work("1"), work("2"), work("3"))
    assert matched(roster, lanes) == [("a", "1"), ("b", "2")]
    assert "3" in lanes


def test_the_next_lease_is_prefetched_shortly_before_the_end() -> None:
    roster = Roster()
    seated(roster, "a")
    lanes = queued(work("1", cost_s=2), work("2"), work("3", cost_s=0))
    assert matched(roster, lanes) == [("a", "1")]
    assert matched(roster, lanes, 2 - PREFETCH_AHEAD_S - 0.1) == []
    assert matched(roster, lanes, 2 - PREFETCH_AHEAD_S) == [("a", "2")]
    assert matched(roster, lanes, 100) == []  # never a third


def test_nothing_waits_behind_a_job_that_may_have_a_long_tail() -> None:
    """An actor that should have been free long ago is the last that one would bet on."""
    roster = Roster()
    seat = seated(roster, "a")
    lanes = queued(work("1", cost_s=40), work("2"))
    assert matched(roster, lanes) == [("a", "1")]
    for now in (39.5, 40.0, 60.0, 400.0):
        assert matched(roster, lanes, now) == []
    assert [seat.busy_s(now) for now in (0.0, 10.0, 40.0, 60.0)] == [40.0, 30.0, 20.0, 30.0]
    seen = roster.demand("p", lanes, now=60.0, promise_now=60.0, max_actors=4, blocked=False)
    assert [remaining_s for _, remaining_s in seen.jobs] == [30.0]


def test_of_very_short_jobs_an_actor_takes_a_handful() -> None:
    roster = Roster()
    seated(roster, "a", offers=2 * LEASES_PER_ACTOR)
    lanes = queued(*(work(str(n), cost_s=SHORT_S / 4) for n in range(2 * LEASES_PER_ACTOR)))
    assert len(matched(roster, lanes)) == 5  # the last begins while all together still count as short
    lanes = queued(*(work(f"tiny{n}", cost_s=0.001) for n in range(2 * LEASES_PER_ACTOR)))
    roster = Roster()
    seated(roster, "a", offers=2 * LEASES_PER_ACTOR)
    assert len(matched(roster, lanes)) == LEASES_PER_ACTOR


def test_work_that_must_be_alone_waits_for_an_idle_actor_and_keeps_it_to_itself() -> None:
    roster = Roster()
    seat, other = seated(roster, "a"), seated(roster, "b")
    assert matched(roster, queued(work("1", cost_s=0.1), work("2", cost_s=0.1))) == [("a", "1"), ("b", "2")]
    lanes = queued(work("suspect", cost_s=0.1, alone=True), work("4"))
    assert matched(roster, lanes) == []
    assert "suspect" in lanes
    assert matched(roster, lanes) == []  # and nobody is given more until it has its actor
    seat.tell(said(held=(), open_=(2, 3)), 1.0)
    assert matched(roster, lanes, 1.0) == [("a", "suspect"), ("b", "4")]
    lanes.add(work("5"))
    assert matched(roster, lanes, 1.0) == []
    seat.tell(said(held=(), open_=(3,)), 2.0)
    assert matched(roster, lanes, 2.0) == [("a", "5")]
    assert other.load == 2


def test_a_suspect_that_is_withdrawn_holds_nobody_up() -> None:
    roster = Roster()
    seated(roster, "a")
    assert matched(roster, queued(work("1", cost_s=0.1))) == [("a", "1")]
    lanes = queued(work("suspect", alone=True), work("3", cost_s=0.1))
    assert matched(roster, lanes) == []
    lanes.withdraw("suspect")
    assert matched(roster, lanes) == [("a", "3")]


def test_a_used_key_pair_answers_the_proposal() -> None:
    roster = Roster()
    seat = seated(roster, "a", offers=2)
    lanes = queued(work("1"))
    assert matched(roster, lanes) == [("a", "1")]
    assert roster.proposal_of("1") == (seat, 1)
    seat.tell(said(held=("1",), open_=(2,)), 1.0)
    assert roster.proposal_of("1") is None
    assert (seat.load, seat.busy_s(4.0)) == (1, 7.0)
    seat.tell(said(held=(), open_=(2,)), 5.0)
    assert (seat.load, seat.busy_s(5.0), seat.idle_since) == (0, 0.0, 5.0)


def test_a_job_that_ran_between_two_looks_leaves_no_trace() -> None:
    roster = Roster()
    seat = seated(roster, "a", offers=2)
    assert matched(roster, queued(work("1")))
    seat.tell(said(held=(), open_=(2,)), 1.0)
    assert (seat.load, seat.running) == (0, {})


def test_without_key_pairs_nothing_is_proposed() -> None:
    roster = Roster()
    seated(roster, "a", offers=0)
    assert matched(roster, queued(work("1"))) == []


def test_fed_drained_and_surplus() -> None:
    roster = Roster()
    busy, idle = seated(roster, "a"), seated(roster, "b")
    assert matched(roster, queued(work("1"))) == [("a", "1")]
    roster.feed("p", 1)
    assert (busy.fed, idle.fed) == (True, False)
    assert matched(roster, queued(work("2"))) == []
    assert roster.surplus("p", 2) == []
    assert roster.surplus("p", 1) == [idle]
    assert roster.surplus("p", 0) == [idle]  # the busy one ends its lease first
    idle.drained = True
    assert roster.surplus("p", 2) == [idle]


def test_a_worn_actor_is_drained_and_replaced_before_it_goes() -> None:
    roster = Roster()
    seat = seated(roster, "a")
    assert matched(roster, queued(work("1"))) == [("a", "1")]
    assert not seat.wear(10, 1000)
    for jobs, grown_bytes in ((10, 0), (0, 1000)):
        seat.drained = False
        seat.tell(msgspec.structs.replace(said(held=("1",), open_=()), jobs=jobs, grown_bytes=grown_bytes), 1.0)
        assert seat.wear(10, 1000)
        assert not seat.wear(10, 1000)  # told once
    assert roster.staying("p") == 0
    assert roster.surplus("p", 1) == []  # its lease first
    fresh = seated(roster, "b")
    assert roster.surplus("p", 1) == []
    seat.tell(said(held=(), open_=()), 2.0)
    assert roster.surplus("p", 1) == [seat]
    assert roster.surplus("p", 0) == [seat, fresh]


def test_demand_tells_what_runs_and_who_starves() -> None:
    roster = Roster()
    lanes = queued(work("1"), work("2"))
    ask = {"promise_now": -5.0, "max_actors": 3, "blocked": False}
    roster.demand("p", lanes, now=0.0, **ask)
    demand = roster.demand("p", lanes, now=7.0, **ask)
    assert (demand.starved_s, demand.queued, demand.jobs) == (7.0, ((5.0, 20.0, 2),), ())
    seated(roster, "a")
    matched(roster, lanes, 7.0)
    demand = roster.demand("p", lanes, now=9.0, **ask)
    assert (demand.starved_s, demand.actors, demand.leased) == (0.0, 1, 1)
    assert (demand.queued, demand.jobs) == (((5.0, 10.0, 1),), ((5.0, 8.0),))


def test_an_actor_that_still_starts_is_not_idle() -> None:
    roster = Roster()
    seat = roster.seats["a"] = Seat("a", "p")
    assert matched(roster, queued(work("1"))) == []
    assert seat.idle_s(100.0) == 0
    seat.begin(100.0)
    assert seat.idle_s(103.0) == 3


def test_some_actors_stay_free_for_interactive_jobs_until_others_are_owed() -> None:
    roster, lanes = Roster(), Lanes()
    for name in "abcdefgh":
        seated(roster, name, offers=40)

    def ask(job: str, lane: str) -> None:
        lanes.add(Work(job, "w1", "p", lane, lane, cost_s=10.0, deadline=1e9), now=10.0)

    def run(now: float) -> list[str]:
        return [proposal.job for _, proposal in roster.match(lanes, now, promise_now=now)]

    def end(now: float, *jobs: str) -> None:
        for seat in roster.seats.values():
            seat.proposed = {offer: p for offer, p in seat.proposed.items() if p.work.job not in jobs}

    for number in range(20):
        ask(f"b{number}", "batch")
    assert len(run(0.0)) == 8  # nobody else came: all is theirs
    end(10.0, *(f"b{number}" for number in range(8)))
    for number in range(6):
        ask(f"i{number}", "interactive")
    assert run(10.0) == [f"i{number}" for number in range(6)]  # half an actor's work in the mean: two stay free
    end(20.0, "i0")
    assert run(20.0) == ["b8"]
    end(20.0, *(f"i{number}" for number in range(6)), "b8")
    assert len(run(900.0)) == 8  # interactive work is long over


def test_overdue_proposals_are_found() -> None:
    roster = Roster()
    seat = seated(roster, "a")
    matched(roster, queued(work("1")), 3.0)
    assert roster.overdue(3.0) == []
    assert roster.overdue(3.1) == [(seat, 1)]


def test_a_silent_workers_jobs_sleep_until_it_asks() -> None:
    desk = Desk(silent_s=10)
    assert desk.seen("w1", 5.0) == []
    assert desk.silent(15.0) == []
    assert desk.silent(15.1) == ["w1"]
    desk.sleep("w1", [work("1"), work("2")])
    desk.withdraw("2")
    assert [w.job for w in desk.seen("w1", 20.0)] == ["1"]
    assert desk.seen("w1", 21.0) == []
    assert desk.silent(21.0 + FORGET_S + 1) == []


def test_an_unread_proposal_can_be_taken_back() -> None:
    desk = Desk(silent_s=10)
    for actor, offer in (("a", 1), ("a", 2), ("b", 1)):
        desk.put("w1", Proposal("job", actor, b"", offer))
    assert desk.bell("w1").count == 3
    assert desk.take_back("a", 1) == {1}
    assert desk.take_back("a", 1) == set()
    assert desk.take_back("b") == {1}
    assert [(p.actor, p.offer) for p in desk.take("w1")] == [("a", 2)]
    assert desk.take("w1") == []
