from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.gpus.etiquette import DeviceUse, Sight, Use
from campaign.gpus.probe import DeviceKind
from campaign.placement import DeviceState, Placement, Policy, Waiting, bar_of, place

NOW = 1000.0
POLICY = Policy(quiet=10.0, fresh=30.0, reserve_after=600.0)
GREEDY = replace(POLICY, reserve_after=inf)


def sight(
    use: Use = Use.FREE, brief: str = "", seen: float = NOW, clear: float | None = NOW - 100
) -> Sight:
    return Sight(use=DeviceUse(use=use, brief=brief, reason=brief), seen_at=seen, clear_since=clear)


def gpu(name: str, host: str = "hosta", **facts: object) -> DeviceState:
    base = DeviceState(id=f"GPU-{name}", kind=DeviceKind.GPU, host=host, index=0, sight=sight())
    return replace(base, **facts)  # type: ignore[arg-type]


def slot(number: int, host: str = "hosta", **facts: object) -> DeviceState:
    base = DeviceState(id=f"cpu:{host}:{number}", kind=DeviceKind.CPU, host=host, index=number)
    return replace(base, **facts)  # type: ignore[arg-type]


def run(name: str, gpus: int = 1, order: int = 0, **facts: object) -> Waiting:
    base = Waiting(run=("camp", name), order=order, since=NOW, gpus=gpus)
    return replace(base, **facts)  # type: ignore[arg-type]


def placed(runs: Sequence[Waiting], devices: Sequence[DeviceState]) -> Placement:
    return place(runs, devices, NOW, POLICY)


# ---------------------------------------------------------------- what may be taken


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (gpu("1", excluded="1f in /etc/campaign.toml"), "excluded (1f in /etc/campaign.toml)"),
        (gpu("1", leased_to=("camp", "redx")), "leased (redx)"),
        (gpu("1", leased_to=("other", "redx")), "leased (other/redx)"),
        (gpu("1", quarantined="ghost memory"), "quarantined (ghost memory)"),
        (gpu("1", sight=sight(Use.FOREIGN, "alice, 41 GiB")), "foreign (alice, 41 GiB)"),
        (gpu("1", sight=sight(Use.OURS, "3 GiB")), "still in use by us (3 GiB)"),
        (gpu("1", sight=sight(Use.GHOST, "1 GiB")), "with unexplained memory (1 GiB)"),
        (gpu("1", sight=sight(Use.UNKNOWN, "NVML hung")), "in an unknown state (NVML hung)"),
        (gpu("1", sight=None), "in an unknown state (not looked at yet)"),
        (gpu("1", sight=sight(seen=NOW - 31)), "in an unknown state (last seen 31 s ago)"),
        (gpu("1", sight=sight(clear=NOW - 9)), "watched for strangers (9 of 10 s)"),
        (gpu("1", sight=sight(clear=None)), "watched for strangers (0 of 10 s)"),
    ],
)
def test_a_gpu_that_is_not_free_is_not_taken_and_the_reason_is_told(
    device: DeviceState, words: str
) -> None:
    result = placed([run("r")], [device])
    assert result.assigned == {}
    why = result.why["camp", "r"]
    assert why.startswith("waits for 1 GPU: ")
    assert why.endswith(f"0 of 1 free on hosta; 1 {words}")


@pytest.mark.parametrize("clear", [NOW - 10, NOW - 11])
def test_a_gpu_is_taken_once_it_was_seen_clear_for_the_quiet_period(clear: float) -> None:
    assert bar_of(gpu("1", sight=sight(clear=clear)), NOW, POLICY) is None


def test_time_without_looks_does_not_count_as_quiet() -> None:
    stale = sight(seen=NOW - 20, clear=NOW - 25)
    assert bar_of(gpu("1", sight=stale), NOW, POLICY) is not None


def test_a_cpu_slot_needs_no_look() -> None:
    assert bar_of(slot(0), NOW, POLICY) is None


@pytest.mark.parametrize(
    ("waiting", "taken"),
    [
        (run("r", pin=frozenset({"GPU-2"})), ("GPU-2",)),
        (run("r", exclude=frozenset({"GPU-1"})), ("GPU-2",)),
        (run("r", hosts=frozenset({"hostb"})), ("GPU-3",)),
        (run("r", gpus=2), ("GPU-1", "GPU-2")),
        (run("r", gpus=0, cpus=2), ("cpu:hosta:0", "cpu:hosta:1")),
    ],
)
def test_pins_exclusions_hosts_and_kind_are_kept(waiting: Waiting, taken: tuple[str, ...]) -> None:
    devices = [gpu("1"), gpu("2", index=1), gpu("3", "hostb"), slot(0), slot(1), slot(2)]
    assert placed([waiting], devices).assigned == {("camp", "r"): taken}


def test_the_host_with_the_fewest_free_devices_left_is_chosen() -> None:
    devices = [gpu("1"), gpu("2"), gpu("3"), gpu("4", "hostb")]
    assert placed([run("r")], devices).assigned["camp", "r"] == ("GPU-4",)


# ---------------------------------------------------------------- who comes first


def test_priority_comes_before_the_order_of_submission() -> None:
    runs = [run("first", order=0), run("urgent", order=1, priority=5)]
    assert set(placed(runs, [gpu("1")]).assigned) == {("camp", "urgent")}


def test_the_order_of_submission_decides_between_equals_whatever_the_order_of_the_list() -> None:
    runs = [run("second", order=1), run("first", order=0)]
    assert set(placed(runs, [gpu("1")]).assigned) == {("camp", "first")}


def test_a_smaller_later_run_goes_first_where_the_earlier_one_cannot_start() -> None:
    runs = [run("large", gpus=2), run("small", order=1)]
    devices = [gpu("1"), gpu("2", leased_to=("camp", "x"))]
    assert set(placed(runs, devices).assigned) == {("camp", "small")}


LARGE = run("large", gpus=2, since=NOW - 601)
SMALL = run("small", order=1)


def test_a_run_that_waited_long_keeps_the_free_devices_of_its_best_host() -> None:
    devices = [gpu("1"), gpu("2", leased_to=("camp", "x"))]
    result = placed([LARGE, SMALL], devices)
    assert result.assigned == {}
    assert "the free ones on hosta are kept for it" in result.why["camp", "large"]
    assert "1 kept for large" in result.why["camp", "small"]


def test_a_kept_device_stays_open_to_a_run_of_higher_priority() -> None:
    devices = [gpu("1"), gpu("2", leased_to=("camp", "x"))]
    result = placed([LARGE, replace(SMALL, priority=1)], devices)
    assert set(result.assigned) == {("camp", "small")}


def test_nothing_is_kept_where_only_a_strangers_leaving_would_make_room() -> None:
    devices = [gpu("1"), gpu("2", sight=sight(Use.FOREIGN, "alice, 41 GiB"))]
    assert set(placed([LARGE, SMALL], devices).assigned) == {("camp", "small")}


def test_only_the_best_host_is_kept() -> None:
    leased = {"leased_to": ("camp", "x")}
    devices = [
        gpu("1"),
        gpu("2", **leased),
        gpu("3", "hostb"),
        gpu("4", "hostb"),
        gpu("5", "hostb", **leased),
    ]
    three = replace(LARGE, gpus=3)
    result = placed([three, SMALL], devices)
    assert result.assigned == {("camp", "small"): ("GPU-1",)}


# ---------------------------------------------------------------- the sentence


def test_the_sentence_counts_and_names_what_stands_in_the_way() -> None:
    devices = [
        gpu("1"),
        gpu("2", leased_to=("camp", "redx")),
        gpu("3", leased_to=("camp", "ep_rr")),
        gpu("4", sight=sight(Use.FOREIGN, "alice, 41 GiB")),
    ]
    assert placed([run("r", gpus=2)], devices).why["camp", "r"] == (
        "waits for 2 GPUs: 1 of 4 free on hosta; 2 leased (redx, ep_rr), 1 foreign (alice, 41 GiB)"
    )


@pytest.mark.parametrize(
    ("waiting", "devices", "sentence"),
    [
        (run("r"), [], "waits for 1 GPU: no GPU is known"),
        (run("r", gpus=0, cpus=3), [gpu("1")], "waits for 3 CPU slots: no CPU slot is known"),
        (
            run("r", hosts=frozenset({"hostz"})),
            [gpu("1")],
            "waits for 1 GPU: no GPU is known on hostz",
        ),
        (
            run("r", gpus=2),
            [gpu("1"), gpu("2", "hostb")],
            "waits for 2 GPUs: no host has so many that it may use: 1 of 1 free on hosta. "
            "1 of 1 free on hostb",
        ),
        (
            run("r", gpus=2, pin=frozenset({"GPU-1"})),
            [gpu("1"), gpu("2")],
            "waits for 2 GPUs: no host has so many that it may use: 1 of 2 free on hosta; "
            "1 not pinned",
        ),
        (
            run("r", exclude=frozenset({"GPU-1"})),
            [gpu("1")],
            "waits for 1 GPU: no host has so many that it may use: 0 of 1 free on hosta; "
            "1 excluded (by its spec)",
        ),
    ],
)
def test_a_run_that_can_never_start_is_told_so(
    waiting: Waiting, devices: list[DeviceState], sentence: str
) -> None:
    assert placed([waiting], devices).why["camp", "r"] == sentence


def test_the_trouble_of_a_hosts_probe_is_told() -> None:
    result = place([run("r")], [], NOW, POLICY, {"hosta": "NVML hung"})
    assert result.why["camp", "r"] == "waits for 1 GPU: no GPU is known. hosta: NVML hung"


def test_long_lists_are_cut() -> None:
    devices = [gpu(str(n), "host0", leased_to=("camp", f"run{n}")) for n in range(9)]
    devices += [gpu(f"x{n}", f"host{n}", leased_to=("camp", "y")) for n in range(1, 6)]
    why = placed([run("r")], devices).why["camp", "r"]
    assert "3 more" in why
    assert why.endswith("2 more hosts")


# ---------------------------------------------------------------- laws

HOSTS = st.sampled_from(["hosta", "hostb", "hostc"])
RUN_IDS = st.sampled_from([("camp", "a"), ("camp", "b"), ("other", "a")])


@st.composite
def device_states(draw: st.DrawFn) -> list[DeviceState]:
    found = []
    for number in range(draw(st.integers(0, 8))):
        host = draw(HOSTS)
        if draw(st.integers(0, 4)) == 0:
            found.append(slot(number, host, leased_to=draw(st.none() | RUN_IDS)))
            continue
        look = sight(
            draw(st.sampled_from([Use.FREE] * 6 + list(Use))),
            seen=NOW - draw(st.sampled_from([0, 5, 40])),
            clear=draw(st.sampled_from([NOW - 100, NOW - 100, NOW - 3, None])),
        )
        found.append(
            gpu(
                str(number),
                host,
                index=number,
                leased_to=draw(st.none() | st.none() | RUN_IDS),
                excluded=draw(st.sampled_from([None, None, None, "site"])),
                quarantined=draw(st.sampled_from([None, None, None, "ghost"])),
                sight=look,
            )
        )
    return found


IDS = st.frozensets(st.sampled_from([f"GPU-{n}" for n in range(8)]), max_size=4)


@st.composite
def waiting_runs(draw: st.DrawFn) -> list[Waiting]:
    return [
        Waiting(
            run=("camp", f"run{number}"),
            order=number,
            since=NOW - draw(st.sampled_from([0, 1000])),
            priority=draw(st.integers(0, 1)),
            gpus=draw(st.integers(0, 3)),
            cpus=draw(st.integers(1, 2)),
            pin=draw(st.just(frozenset()) | IDS),
            exclude=draw(st.just(frozenset()) | IDS),
            hosts=draw(st.just(frozenset()) | st.frozensets(HOSTS, max_size=2)),
        )
        for number in range(draw(st.integers(0, 6)))
    ]


POLICIES = st.sampled_from([POLICY, GREEDY])
laws = settings(max_examples=150, deadline=None)
case = given(runs=waiting_runs(), devices=device_states(), policy=POLICIES)
turn = lambda w: (-w.priority, w.order)  # noqa: E731 - the order that the laws speak of


@laws
@case
def test_every_run_is_placed_or_has_a_reason_and_never_both(
    runs: list[Waiting], devices: list[DeviceState], policy: Policy
) -> None:
    result = place(runs, devices, NOW, policy)
    assert set(result.assigned) | set(result.why) == {w.run for w in runs}
    assert not set(result.assigned) & set(result.why)
    assert all(why.startswith("waits for ") for why in result.why.values())


@laws
@case
def test_no_device_is_given_twice(
    runs: list[Waiting], devices: list[DeviceState], policy: Policy
) -> None:
    given_out = [d for ids in place(runs, devices, NOW, policy).assigned.values() for d in ids]
    assert len(given_out) == len(set(given_out))


@laws
@case
def test_only_free_devices_that_the_run_may_have_are_given_all_on_one_host(
    runs: list[Waiting], devices: list[DeviceState], policy: Policy
) -> None:
    by_id, by_run = {d.id: d for d in devices}, {w.run: w for w in runs}
    for name, ids in place(runs, devices, NOW, policy).assigned.items():
        wanted, taken = by_run[name], [by_id[i] for i in ids]
        assert len(taken) == wanted.need
        assert len({d.host for d in taken}) == 1
        for device in taken:
            assert device.kind is wanted.kind
            assert device.excluded is None and device.quarantined is None
            assert device.leased_to is None
            assert device.id not in wanted.exclude
            assert not wanted.pin or device.id in wanted.pin
            assert not wanted.hosts or device.host in wanted.hosts
            if device.kind is DeviceKind.GPU:
                assert device.sight is not None and device.sight.use.use is Use.FREE
                assert device.sight.clear_since is not None
                assert device.sight.seen_at - device.sight.clear_since >= policy.quiet
                assert NOW - device.sight.seen_at <= policy.fresh


@laws
@case
def test_what_an_earlier_run_gets_does_not_depend_on_the_later_ones(
    runs: list[Waiting], devices: list[DeviceState], policy: Policy
) -> None:
    """Priority and order are respected: a later run never takes anything from an earlier one."""
    whole = place(runs, devices, NOW, policy).assigned
    ordered = sorted(runs, key=turn)
    for count in range(len(ordered)):
        alone = place(ordered[:count], devices, NOW, policy).assigned
        assert alone == {w.run: whole[w.run] for w in ordered[:count] if w.run in whole}


@laws
@case
def test_the_order_of_the_lists_does_not_matter(
    runs: list[Waiting], devices: list[DeviceState], policy: Policy
) -> None:
    assert place(runs, devices, NOW, policy) == place(runs[::-1], devices[::-1], NOW, policy)


@laws
@case
def test_once_the_given_devices_are_leased_nothing_more_starts(
    runs: list[Waiting], devices: list[DeviceState], policy: Policy
) -> None:
    """One placement is complete: asking again at the same moment starts nothing more."""
    first = place(runs, devices, NOW, policy).assigned
    holder = {device: name for name, ids in first.items() for device in ids}
    leased = [replace(d, leased_to=holder.get(d.id, d.leased_to)) for d in devices]
    left = [w for w in runs if w.run not in first]
    assert place(left, leased, NOW, policy).assigned == {}


@laws
@given(runs=waiting_runs(), devices=device_states())
def test_no_device_stays_idle_that_would_let_a_waiting_run_start(
    runs: list[Waiting], devices: list[DeviceState]
) -> None:
    """Where nothing is kept for a starving run, a run waits only if no host has enough for it."""
    result = place(runs, devices, NOW, GREEDY)
    taken = {d for ids in result.assigned.values() for d in ids}
    free = [d for d in devices if bar_of(d, NOW, GREEDY) is None and d.id not in taken]
    for wanted in (w for w in runs if w.run in result.why):
        usable = [
            d.host
            for d in free
            if d.kind is wanted.kind
            and d.id not in wanted.exclude
            and (not wanted.pin or d.id in wanted.pin)
            and (not wanted.hosts or d.host in wanted.hosts)
        ]
        assert all(usable.count(host) < wanted.need for host in usable)


@laws
@given(runs=waiting_runs().filter(bool), devices=device_states(), host=HOSTS, policy=POLICIES)
def test_a_further_free_device_never_makes_the_first_in_line_wait(
    runs: list[Waiting], devices: list[DeviceState], host: str, policy: Policy
) -> None:
    """Only the first: a later run may lose its place, because an earlier one can now start."""
    first = min(runs, key=turn).run
    if first in place(runs, devices, NOW, policy).assigned:
        more = [*devices, gpu("new", host, index=99), slot(99, host)]
        assert first in place(runs, more, NOW, policy).assigned


@laws
@given(
    small=st.lists(st.integers(1, 2), min_size=1, max_size=5),
    free=st.integers(0, 3),
    leased=st.integers(0, 4),
)
def test_a_starving_run_is_not_overtaken_on_the_host_where_it_can_start(
    small: list[int], free: int, leased: int
) -> None:
    large = run("large", gpus=4, since=NOW - 601)
    devices = [gpu(f"f{n}") for n in range(free)]
    devices += [gpu(f"l{n}", leased_to=("camp", "x")) for n in range(leased)]
    runs = [large, *(run(f"s{n}", gpus=need, order=n + 1) for n, need in enumerate(small))]
    result = placed(runs, devices)
    if free + leased >= 4:
        assert result.assigned == {}


def test_before_any_host_has_answered_no_device_is_said_to_be_missing() -> None:
    result = place([run("r", gpus=0)], [], NOW, POLICY, answered=False)
    (why,) = result.why.values()
    assert "no host has answered yet" in why
    assert "CPU slot is known" not in why
