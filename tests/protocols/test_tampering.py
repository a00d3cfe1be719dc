"""The attacker's pure function, edits of bodies, and streams cut into events."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcomm.base.errors import ConfigError, MessageError
from agentcomm.protocols.edits import error_answer, substitute
from agentcomm.protocols.event import Event, kind_of, method_of
from agentcomm.protocols.payloads import change_envelopes
from agentcomm.protocols.streams import Cutter, Frame
from agentcomm.protocols.tampering import MAX_COPIES, MAX_DELAY, RULES, Tampering, read_rule, read_rules
from agentcomm.wire.encoding import decode, encode
from agentcomm.wire.envelope import Envelope, pack_floats, unpack_floats

NUMBERS = np.array([1.5, -2.0, 0.25], dtype=np.float32)
ENVELOPE = Envelope(
    sent_round=0,
    sender=1,
    audience=2,
    sequence=7,
    sent_at=3,
    expiry=9,
    hops=2,
    key=1,
    payload=pack_floats(NUMBERS),
    seal=b"s" * 32,
)


def event(body: bytes = b"{}", number: int = 0, **other: str) -> Event:
    fields = {"protocol": "a2a", "direction": "request", "kind": "request", "method": "SendMessage"} | other
    return Event(body=body, number=number, **fields)  # type: ignore[arg-type]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
BODIES = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
TEXTS = st.sampled_from(
    [
        "drop:probability=0.5",
        "duplicate:copies=8",
        "delay:by=60",
        "payload:how=zero",
        "edit:path=..a,to=5",
        "card_url:to=http://127.0.0.1:9/",
        "description:to=evil",
        "refuse:probability=0.5",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, max_size=4), BODIES, st.integers(0, 99), st.integers(0, 9))
def test_it_is_a_bounded_pure_function_of_event_seed_and_number(
    texts: list[str], body: bytes, number: int, seed: int
) -> None:
    attacker, seen = read_rules(texts, seed), event(body, number)
    first = attacker(seen)
    assert first == read_rules(texts, seed)(seen)
    assert len(first) <= MAX_COPIES
    assert all(0 <= seconds <= MAX_DELAY for seconds, _ in first)
    assert all((e.number, e.method, e.kind) == (number, "SendMessage", "request") for _, e in first)


def test_without_rules_an_event_passes_unchanged() -> None:
    assert Tampering()(event(b"x")) == [(0.0, event(b"x"))]


def test_probability_draws_per_event_and_seed() -> None:
    drops = [[not read_rules(["drop:probability=0.5"], seed)(event(number=n)) for n in range(400)] for seed in (0, 1)]
    assert 150 < sum(drops[0]) < 250
    assert drops[0] != drops[1]


def test_rules_work_on_what_the_ones_before_pass_on() -> None:
    passed = read_rules(["duplicate:copies=2", "delay:by=2", "edit:path=a,to=9"])(event(b'{"a":1}'))
    assert passed == [(2.0, event(b'{"a":9}'))] * 2


@pytest.mark.parametrize(
    ("rule", "hit"),
    [
        ("drop", True),
        ("drop:direction=response", False),
        ("drop:kind=stream", False),
        ("drop:method=SendMessage", True),
        ("drop:method=GetTask", False),
        ("drop:contains=COMPLETED", True),
        ("drop:contains=FAILED", False),
        ("drop:start=6", False),
        ("drop:start=5,stop=6", True),
        ("drop:stop=5", False),
    ],
)
def test_conditions(rule: str, hit: bool) -> None:
    assert (read_rules([rule])(event(b'"COMPLETED"', 5)) == []) is hit


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("drp", "did you mean 'drop'"),
        ("drop:probability=2", "probability"),
        ("drop:chance=1", "chance"),
        ("edit:to=5", "path"),
        ("delay:by=61", "by"),
        ("drop:kind=chunk", "kind"),
    ],
)
def test_errors_name_the_field_and_what_is_expected(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_rule(text)


def test_every_rule_says_what_it_does() -> None:
    assert all(rule.__doc__ and rule.model_fields["probability"] for rule in RULES.values())


@pytest.mark.parametrize(
    ("path", "find", "to", "after"),
    [
        ("a.0.b", None, 9, {"a": [{"b": 9}, {"b": "xyx"}]}),
        ("a.*.b", None, 9, {"a": [{"b": 9}, {"b": 9}]}),
        ("..b", "x", "z", {"a": [{"b": "z"}, {"b": "zyz"}]}),
        ("..", "x", "z", {"a": [{"b": "z"}, {"b": "zyz"}]}),
        ("a..b", None, 9, {"a": [{"b": 9}, {"b": 9}]}),
        ("c", None, 9, {"a": [{"b": "x"}, {"b": "xyx"}], "c": 9}),
        ("a.1.c", None, 9, {"a": [{"b": "x"}, {"b": "xyx", "c": 9}]}),
        ("a.2.c", None, 9, {"a": [{"b": "x"}, {"b": "xyx"}]}),
        ("..c", None, 9, {"a": [{"b": "x"}, {"b": "xyx"}]}),
        ("c", "x", 9, {"a": [{"b": "x"}, {"b": "xyx"}]}),
    ],
)
def test_substitution_at_paths(path: str, find: str | None, to: object, after: object) -> None:
    body = json.dumps({"a": [{"b": "x"}, {"b": "xyx"}]}).encode()
    changed = substitute(body, path, find, to)
    assert json.loads(changed) == after
    assert (changed == body) is (json.loads(body) == after)


@settings(max_examples=60, deadline=None)
@given(BODIES, st.lists(st.sampled_from(["a", "0", "*", ""]), min_size=1, max_size=4))
def test_no_body_makes_an_edit_fail(body: bytes, path: list[str]) -> None:
    substitute(body, ".".join(path), None, 1)
    change_envelopes(body, "flip")
    error_answer(body, -32601, "no")
    method_of(body)


def test_deep_bodies_pass() -> None:
    for depth in (100, 900, 100_000):
        body = b"[" * depth + b"1" + b"]" * depth
        assert substitute(body, "..a", None, 1) == body
        assert change_envelopes(body, "flip") == body


def test_envelopes_are_changed_wherever_they_are() -> None:
    raw = encode(ENVELOPE)
    text = base64.b64encode(raw).decode()
    bodies = {
        "binary": raw,
        "a2a": json.dumps({"params": {"message": {"parts": [{"raw": text}]}}}).encode(),
        "mcp": json.dumps({"params": {"arguments": {"envelope": text}}}).encode(),
    }
    flipped = ENVELOPE.model_copy(update={"payload": pack_floats(-NUMBERS)})
    for name, body in bodies.items():
        changed = change_envelopes(body, "flip")
        if name == "binary":
            assert decode(changed) == flipped
        else:
            assert base64.b64encode(encode(flipped)).decode() in changed.decode()
        assert change_envelopes(changed, "flip") == body.replace(b": ", b":") if name != "binary" else True
    zeroed = decode(change_envelopes(raw, "zero"))
    assert not unpack_floats(zeroed.payload).any()
    assert zeroed.seal == ENVELOPE.seal


def test_kinds_of_events() -> None:
    assert kind_of("request", "tools/list") == "request"
    assert kind_of("response", "tools/list", streamed=True) == "discovery"
    assert kind_of("response", "GET", "/.well-known/agent-card.json") == "card"
    assert kind_of("response", "SendStreamingMessage", streamed=True) == "stream"
    assert kind_of("response", "SendMessage") == "response"


LINES = st.sampled_from([b"data: 1", b"data:2", b"id: 7", b": ping", b"event: message", b"data"])
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    out = b""
    for _ in range(draw(st.integers(1, 4))):
        out += b"".join(draw(LINES) + draw(ENDS) for _ in range(draw(st.integers(1, 3)))) + draw(ENDS)
    return out + draw(st.sampled_from([b"", b"data: cut", b"\r"]))


def cut(chunks: list[bytes]) -> list[bytes]:
    cutter = Cutter()
    frames = [frame for chunk in chunks for frame in cutter.feed(chunk)]
    return [frame.raw for frame in (*frames, *cutter.rest())]


@settings(max_examples=100, deadline=None)
@given(streams())
def test_every_split_of_chunks_gives_the_same_events(stream: bytes) -> None:
    whole = cut([stream])
    for at in range(len(stream) + 1):
        assert cut([stream[:at], stream[at:]]) == whole
    assert cut([stream[i : i + 1] for i in range(len(stream))]) == whole


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_passed_on_as_soon_as_they_are_whole(end: bytes) -> None:
    cutter = Cutter()
    assert [f.data for f in cutter.feed(b"data: 1" + end + b"data: 2" + end + end)] == [b"1\n2"]
    assert not list(cutter.rest())


def test_an_edited_event_keeps_its_other_fields() -> None:
    frame = Frame(b"event: message\r\nid: 4\r\ndata: old\r\ndata: er\r\n\r\n")
    assert frame.data == b"old\ner"
    assert frame.with_data(b"new").raw == b"event: message\nid: 4\ndata: new\n\n"
    assert Frame(b": ping\n\n").data is None


def test_an_endless_event_is_refused() -> None:
    cutter = Cutter(limit=100)
    with pytest.raises(MessageError, match="100 bytes"):
        [list(cutter.feed(b"data: 1234")) for _ in range(20)]
