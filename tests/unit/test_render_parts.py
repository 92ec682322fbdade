"""The parts of a render that only look: a form taken apart, an outcome told, uses counted in steps."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.errors import BadBody, BodyTooLarge
from services.gateway.render import form
from services.gateway.render.answer import failure
from services.gateway.render.errors import BadForm, TooManyPictures
from services.gateway.render.form import Begins, Ends, Field, params_of
from stream.events.bus import Outcome
from stream.metrics.renders import HOUR_S, STEP, Renders
from stream.policies import compiler, statistics, verdict
from stream.policies.refusals import (
    AgeUnknown,
    ConsentMissing,
    JobsOnly,
    OnDeviceOnly,
    OperationNotAvailable,
    OperationNotOffered,
    Refusal,
    UnknownParams,
    WrongInputs,
)
from stream.policies.vocabulary import Place
from tests import twins

KIND = 'multipart/form-data; boundary="front-ier"'
HEAD = b"--front-ier\r\nContent-Disposition: form-data; "
END = b"--front-ier--\r\n"


async def taken(content_type: str, *chunks: bytes, most: int = 9) -> list[form.Event | bytes]:
    """The events, a picture's bytes as one."""

    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    found: list[form.Event | bytes] = []
    async for event in form.events(content_type, body(), most):
        if isinstance(event, bytes) and isinstance(found[-1], bytes):
            found[-1] += event
        else:
            found.append(event)
    return found


def field(name: str, value: bytes) -> bytes:
    return HEAD + f'name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


def file(content: bytes, name: str = "image") -> bytes:
    return HEAD + f'name="{name}"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'.encode() + content + b"\r\n"


class TestForm:
    @given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4), st.integers(1, 400))
    @settings(max_examples=60, deadline=None)
    async def test_wherever_it_is_cut(self, pictures: list[bytes], size: int) -> None:
        whole = b"preamble\r\n" + field("operation", b"noop") + b"".join(map(file, pictures)) + END + b"epilogue"
        chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
        expected: list[form.Event | bytes] = [Field("operation", b"noop")]
        for picture in pictures:
            expected += [Begins(), picture, Ends()]
        assert await taken(KIND, *chunks) == expected

    @pytest.mark.parametrize(
        "kind", ["image/jpeg", "application/x-www-form-urlencoded", "", "multipart/mixed; boundary=b"]
    )
    async def test_anything_else_is_one_picture(self, kind: str) -> None:
        assert await taken(kind, b"one", b"two") == [Begins(), b"onetwo", Ends()]

    @pytest.mark.parametrize(
        "body",
        [
            b"no form",
            field("operation", b"noop") + file(b"x"),  # without its closing boundary
            file(b"x")[:-2] + END,
            field("colour", b"red") + END,
            file(b"x") + field("params", b"{}") + END,  # a field after a picture
            b"".join(field("params", b"{}") for _ in range(9)) + END,
            bytes(100_000) + file(b"x") + END,  # a preamble without end
            file(b"x") + END + bytes(100_000),
        ],
    )
    async def test_what_is_no_form(self, body: bytes) -> None:
        with pytest.raises(BadForm):
            await taken(KIND, *(body[at : at + 10_000] for at in range(0, len(body), 10_000)))

    @pytest.mark.parametrize("kind", ["multipart/form-data", 'multipart/form-data; boundary=""'])
    async def test_without_a_boundary(self, kind: str) -> None:
        with pytest.raises(BadForm):
            await taken(kind, file(b"x") + END)

    async def test_too_many_pictures_too_long_a_field(self) -> None:
        with pytest.raises(TooManyPictures):
            await taken(KIND, file(b"x") * 4 + END, most=3)
        with pytest.raises(BodyTooLarge):
            await taken(KIND, field("params", b" " * 70_000) + END)

    @pytest.mark.parametrize("value", [b"", b"{", b"[1]", b'"secret"', b"\xff", b"[" * 5000])
    def test_params_are_an_object(self, value: bytes) -> None:
        with pytest.raises(BadBody) as refused:
            params_of(value)
        assert "secret" not in str(refused.value)
        assert repr(Field("params", b"secret")) == "<Field>"


class TestFailure:
    @pytest.mark.parametrize(
        ("outcome", "kind", "status"),
        [
            (Outcome("failed", kind="permanent", reason="no-person"), "no-person", 422),
            (Outcome("failed", kind="permanent", reason="ValueError"), "engine-failed", 500),
            (Outcome("failed", kind="transient", reason="engine-fault"), "engine-fault", 503),
            (Outcome("failed", kind="resource", reason="MemoryError"), "engine-failed", 503),
            (Outcome("cancelled", reason="cancelled"), "cancelled", 503),
        ],
    )
    def test_is_told_by_its_kind(self, outcome: Outcome, kind: str, status: int) -> None:
        problem = failure(outcome)
        assert problem is not None
        assert (problem.kind, problem.status) == (kind, status)

    def test_success_is_none(self) -> None:
        assert failure(Outcome("succeeded")) is None


CELL = ("batchpix", "stylization", "succeeded")


class TestCounts:
    def test_nothing_leaves_before_its_hour_is_over_and_then_in_steps(self) -> None:
        now = [0.0]
        renders = Renders(lambda: now[0], lambda _: 0)
        renders.count(CELL, STEP + 7)
        now[0] = HOUR_S - 0.001
        assert renders.released() == {}
        now[0] = HOUR_S
        assert renders.released() == {CELL: STEP}
        renders.count(CELL, STEP - 8)
        now[0] = 2 * HOUR_S
        assert renders.released() == {CELL: STEP}  # 99
        renders.count(CELL, 1)
        now[0] = 3 * HOUR_S
        assert renders.released() == {CELL: 2 * STEP}
        assert repr(renders) == "<Renders>"

    def test_one_more_is_seen_with_odds_of_one_in_a_step_and_the_mean_is_right(self) -> None:
        def told(count: int, start: int) -> int:
            now = [0.0]
            renders = Renders(lambda: now[0], lambda below: start % below)
            renders.count(CELL, count)
            now[0] = HOUR_S
            return renders.released().get(CELL, 0)

        for count in random.Random(1).sample(range(500), 20):
            found = [told(count, start) for start in range(STEP)]
            assert sum(found) == count * STEP
            assert sum(told(count + 1, start) != found[start] for start in range(STEP)) == 1

    def test_only_where_the_policy_lets_uses_be_counted(self) -> None:
        policies = compiler.load_all("")
        assert statistics.rendered(policies["batchpix"]) == {one.name for one in policies["batchpix"].operations}
        assert statistics.rendered(policies["background-removal-ai"]) == frozenset()
        assert statistics.counted(policies["batchpix"]) == frozenset()
        assert statistics.rendered(policies["genzo"]) == frozenset()


AVAILABLE = {"noop": ("steps",), "stylization": (), "face_swap": (), "analysis": ()}


class TestVerdict:
    def judged(self, app: str, operation: str, *params: str) -> None:
        verdict.decide_render(compiler.load(app), operation, params, available=AVAILABLE)

    @pytest.mark.parametrize(
        ("app", "operation", "params", "refusal"),
        [
            ("batchpix", "nothing", (), OperationNotOffered),
            ("batchpix", "ai_dance", (), OperationNotAvailable),
            ("batchpix", "stylization", ("colour",), UnknownParams),
            ("genzo", "stylization", (), JobsOnly),
            ("perfect-me", "analysis", (), OnDeviceOnly),
        ],
    )
    def test_refuses(self, app: str, operation: str, params: tuple[str, ...], refusal: type[Refusal]) -> None:
        with pytest.raises(refusal):
            self.judged(app, operation, *params)

    @pytest.mark.parametrize("twin", twins.RAM_ONLY)
    def test_grants(self, twin: twins.Twin) -> None:
        policy = compiler.compile_policy(twins.text(twin).encode(), f"{twin.name}.toml", for_tests=True)
        found = verdict.decide_render(policy, "noop", ("steps",), available=AVAILABLE)
        assert (found.name, found.runs) == ("noop", Place.MEMORY)

    @pytest.mark.parametrize("refusal", [ConsentMissing, AgeUnknown])
    def test_nobody_is_named_so_no_consent_and_no_age_can_stand(self, refusal: type[Refusal]) -> None:
        source = (twins.POLICIES / "nursery.toml").read_bytes()
        policy = compiler.compile_policy(source, "nursery.toml", for_tests=True)
        one = msgspec.structs.replace(policy.operations[0], runs=Place.MEMORY)
        policy = msgspec.structs.replace(policy, operations=(one,), age=policy.age if refusal is AgeUnknown else None)
        with pytest.raises(refusal):
            verdict.decide_render(policy, "noop", (), available=AVAILABLE)
        two = msgspec.structs.replace(one, inputs=one.inputs * 2)
        with pytest.raises(WrongInputs):
            verdict.decide_render(msgspec.structs.replace(policy, operations=(two,)), "noop", (), available=AVAILABLE)
