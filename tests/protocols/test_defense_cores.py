"""Cores of defenses, against attackers who know them."""

import asyncio
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcomm.base.errors import PluginError
from agentcomm.protocols import defenses
from agentcomm.protocols.defenses.actors import Actor, ChainVerifier
from agentcomm.protocols.defenses.addresses import is_public, pin
from agentcomm.protocols.defenses.approvals import Approvals
from agentcomm.protocols.defenses.canonical import digest
from agentcomm.protocols.defenses.contexts import Contexts
from agentcomm.protocols.defenses.errors import RefusedError, StoreError
from agentcomm.protocols.defenses.keys import PrivateKey
from agentcomm.protocols.defenses.limits import Quota, check_depth
from agentcomm.protocols.defenses.once import Once
from agentcomm.protocols.defenses.origins import check_origin, origin
from agentcomm.protocols.defenses.pins import Pins, Versions
from agentcomm.protocols.defenses.proof import answer, challenge, check_answer
from agentcomm.protocols.defenses.resumption import EventLog, Peer
from agentcomm.protocols.defenses.store import MemoryStore, SQLiteStore, Store


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Down(Store):
    def _update(self, *_):
        raise OSError("disk gone")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), min_size=1, max_size=30))
def test_once_under_concurrency(calls):
    ran = []

    async def execute(owner, key):
        await asyncio.sleep(0)
        ran.append((owner, key))
        return f"{owner}{key}"

    async def main():
        once = Once()
        return await asyncio.gather(
            *(once.run(owner, str(key), b"", lambda o=owner, k=key: execute(o, k)) for owner, key in calls)
        )

    outcomes = asyncio.run(main())
    assert sorted(ran) == sorted(set(calls))
    assert [outcome for outcome, _ in outcomes] == [f"{owner}{key}" for owner, key in calls]
    assert sum(first for _, first in outcomes) == len(ran)


def test_once_goes_on_when_the_caller_leaves_and_keeps_failures():
    async def main():
        once, ran = Once(MemoryStore(share=3)), []

        async def slow():
            await asyncio.sleep(0.02)
            ran.append(1)
            raise ValueError("broken")

        leaving = asyncio.create_task(once.run("a", "k", b"", slow))
        await asyncio.sleep(0.005)
        leaving.cancel()
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                await once.run("a", "k", b"", slow)
        assert ran == [1]
        with pytest.raises(RefusedError, match="another message"):
            await once.run("a", "k", b"other", slow)
        with pytest.raises(RefusedError, match="no id"):
            await once.run("a", "", b"", slow)
        for key in "mn":
            once.reserve("a", key, b"")
        with pytest.raises(StoreError, match="no room"):
            once.reserve("a", "o", b"")
        assert once.reserve("b", "k", b"")[1]
        with pytest.raises(StoreError, match="disk gone"):
            await Once(Down()).run("a", "k", b"", slow)

    asyncio.run(main())


def test_once_ages_and_outlasts_a_restart(tmp_path):
    async def main():
        clock = Clock()
        once = Once(MemoryStore(clock=clock), seconds=10)
        assert once.reserve("a", "k", b"")[1]
        assert not once.reserve("a", "k", b"")[1]
        clock.now += 11
        assert once.reserve("a", "k", b"")[1]
        assert len(once) == 1
        assert Once(SQLiteStore(tmp_path / "s")).reserve("a", "k", b"")[1]
        with pytest.raises(RefusedError, match="executed before"):
            Once(SQLiteStore(tmp_path / "s")).reserve("a", "k", b"")

    asyncio.run(main())


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
@settings(deadline=None, max_examples=50)
def test_contexts_serve_their_owner_only(owner, other):
    contexts = Contexts(b"c" * 32)
    made = contexts.new(owner)
    contexts.check(owner, made)
    assert owner != other or other
    for who, what in [
        (other if other != owner else "", made),
        (owner, made[:-1]),
        (owner, "x" + made),
        (owner, "mine"),
    ]:
        with pytest.raises(RefusedError):
            contexts.check(who, what)
    with pytest.raises(RefusedError):
        contexts.check("", contexts.new(""))


def test_depth_is_counted_before_parsing_in_linear_time():
    check_depth(b'{"a": "[[[[[[", "b": "\\"[[[["}', 1)
    with pytest.raises(RefusedError):
        check_depth(b'{"a": ' + b"[" * 5000, 64)
    begin = time.process_time()
    check_depth(b'"' + b'\\"' * 500_000, 3)
    assert time.process_time() - begin < 2


def test_quota_refills_and_never_forgets_the_active():
    clock = Clock()
    quota = Quota(rate=1, burst=2, at_once=1, callers=2, clock=clock)
    quota.enter("a")
    with pytest.raises(RefusedError, match="at a time"):
        quota.enter("a")
    quota.leave("a")
    quota.enter("a")
    quota.leave("a")
    with pytest.raises(RefusedError, match="per second"):
        quota.enter("a")
    quota.enter("b")
    with pytest.raises(RefusedError, match="too many callers"):
        quota.enter("c")
    clock.now += 3
    quota.enter("c")  # a was idle until its bucket was full; b still has a request open
    with pytest.raises(RefusedError, match="too many callers"):
        quota.enter("a")


@pytest.mark.parametrize(
    "other",
    ["https://evil.example/", "http://good.example/", "https://good.example:444/", "https://good.example@evil.example/",
     "https://good.example.evil.example/", "ftp://good.example/", "https:///x", "https://good.example\\@evil.example/",
     " https://good.example/", "https://good.example:x/", "javascript:alert(1)", ""],
)  # fmt: skip
def test_a_card_names_its_own_origin_only(other):
    check_origin("https://good.example/a", ["https://GOOD.example:443/b", "https://good.example./"])
    with pytest.raises(RefusedError):
        check_origin("https://good.example/a", ["https://good.example/b", other])


def test_possession_cannot_be_relayed_copied_or_reused():
    key, card, nonce = PrivateKey(), digest(b"card"), challenge()
    keys = {"agent": key.public}
    given = answer(nonce, "https://good.example", card, "agent", key)
    check_answer(nonce, "https://good.example/x", card, given, keys)
    with pytest.raises(RefusedError):  # the copier relays the challenge to the true holder
        check_answer(nonce, "https://copier.example", card, given, keys)
    for nonce_, card_, given_ in [
        (challenge(), card, given),
        (nonce, digest(b"other"), given),
        (nonce, card, answer(nonce, "https://good.example", card, "agent", PrivateKey())),
        (nonce, card, {**given, "key": "other"}),
        (nonce, card, {"key": ["agent"], "signature": 3}),
    ]:
        with pytest.raises(RefusedError):
            check_answer(nonce_, "https://good.example", card_, given_, keys)
    with pytest.raises(RefusedError, match="nonce"):
        answer("x" * 5000, "https://good.example", card, "agent", key)


@pytest.mark.parametrize(
    ("address", "public"),
    [("93.184.216.34", True), ("2606:2800:220:1:248:1893:25c8:1946", True), ("127.0.0.1", False), ("10.1.2.3", False),
     ("169.254.169.254", False), ("100.64.0.1", False), ("::1", False), ("::ffff:127.0.0.1", False),
     ("fe80::1%eth0", False), ("2002:7f00:1::", False), ("0.0.0.0", False), ("224.0.0.1", False), ("x", False)],
)  # fmt: skip
def test_public_addresses(address, public):
    assert is_public(address) is public


def test_a_name_is_resolved_once_and_every_address_must_be_public():
    def resolver(*answers):
        left = list(answers)

        async def resolve(host, port):
            return left.pop(0)

        return resolve

    assert asyncio.run(pin("http://a.test/x", resolver=resolver(["93.184.216.34"], ["127.0.0.1"]))) == "93.184.216.34"
    for answers in (["93.184.216.34", "127.0.0.1"], [], ["127.0.0.1"]):
        with pytest.raises(RefusedError):
            asyncio.run(pin("http://a.test/", resolver=resolver(answers)))
    local = origin("http://127.0.0.1:8080/x")
    assert asyncio.run(pin("http://127.0.0.1:8080/x", [local])) == "127.0.0.1"
    with pytest.raises(RefusedError):
        asyncio.run(pin("http://127.0.0.1:8081/x", [local]))


def test_pins_and_versions():
    pins, tool = Pins(), {"name": "add", "description": "Add."}
    pins.check("http://a/mcp", "add", tool)
    pins.check("http://a/mcp/", "add", dict(reversed(tool.items())))
    with pytest.raises(RefusedError, match="changed"):
        pins.check("http://a/mcp", "add", {**tool, "description": "Pay."})
    pins.check("http://b/mcp", "add", {**tool, "description": "Pay."})
    pins.set("http://a/mcp", "add", {**tool, "description": "Pay."})
    pins.check("http://a/mcp", "add", {**tool, "description": "Pay."})
    with pytest.raises(RefusedError, match="never reviewed"):
        Pins(first_use=False).check("http://a/mcp", "add", tool)
    versions = Versions("2025-06-18")
    versions.check("http://a/mcp", "2025-11-25")
    versions.check("http://a/mcp", "2026-07-28")
    for url, version in [("http://a/mcp", "2025-11-25"), ("http://b/mcp", "2024-11-05")]:
        with pytest.raises(RefusedError, match="hide"):
            versions.check(url, version)
    for core in (Pins(Down()), Versions("", Down())):
        with pytest.raises(StoreError, match="disk gone"):
            core.check("http://a", *([] if isinstance(core, Versions) else ["add"]), "x")


def test_events_belong_to_their_session_and_principal_and_are_forgotten():
    clock = Clock()
    log = EventLog(capacity=4, seconds=10, clock=clock)
    alice, bob = Peer("s1", "alice"), Peer("s2", "bob")
    first = log.add(alice, "7", "prime")
    mine = log.add(bob, "7", "prime")
    log.add(alice, "7", 424242)
    log.add(alice, "8", "other stream")
    assert [event for _, event in log.after(Peer("s1", "alice"), first)[1]] == [424242]
    assert list(log.after(bob, mine)[1]) == []
    for thief in (bob, Peer("s1", "bob"), Peer("s1"), Peer("", "alice")):
        with pytest.raises(RefusedError):
            log.after(thief, first)
    log.add(alice, "7", 1)
    assert len(log) == 4
    clock.now += 11
    with pytest.raises(RefusedError):
        log.after(bob, mine)


def test_approvals_count_once_for_whom_they_were_asked():
    clock = Clock()
    approvals = Approvals(MemoryStore(clock=clock), seconds=10)
    number = approvals.ask("alice")
    for who, what in [("bob", number), ("alice", None), ("alice", "f" * 32)]:
        with pytest.raises(RefusedError):
            approvals.take(who, what)
    approvals.take("alice", number)
    with pytest.raises(RefusedError, match="used before"):
        approvals.take("alice", number)
    late = approvals.ask("alice")
    clock.now += 11
    with pytest.raises(RefusedError):
        approvals.take("alice", late)
    for call in (lambda: Approvals(Down()).ask("alice"), lambda: Approvals(Down()).take("alice", number)):
        with pytest.raises(StoreError):
            call()


KEYS = {name: PrivateKey() for name in ("user", "a", "b", "c")}
PUBLIC = {name: key.public for name, key in KEYS.items()}


def receiver(name, **options):
    return ChainVerifier(name, PUBLIC, {"user"}, **options)


def test_chains_carry_who_delegated_over_three_hops():
    user, a, b = (Actor(name, KEYS[name]) for name in ("user", "a", "b"))
    one = user.start("a", time.time() + 60)
    two = a.extend(one, "b")
    three = b.extend(two, "c")
    assert receiver("a").verify(one, "user") == ["user"]
    assert receiver("b").verify(two, "a") == ["user", "a"]
    assert receiver("c").verify(three) == ["user", "a", "b"]
    with pytest.raises(RefusedError, match="hops"):
        receiver("c", max_depth=2).verify(three)
    with pytest.raises(RefusedError, match="leads from"):
        receiver("c").verify(three, "a")


def test_depth_cannot_be_laundered():
    user, a, b = (Actor(name, KEYS[name]) for name in ("user", "a", "b"))
    now = time.time()
    one = user.start("a", now + 60)
    two = a.extend(one, "b")
    with pytest.raises(RefusedError, match="may not start"):  # b hides the chain and starts a new one
        receiver("a").verify(b.start("a", now + 60))
    with pytest.raises(RefusedError, match="twice"):  # b sends the work back to a
        receiver("a").verify(b.extend(two, "a"))
    with pytest.raises(RefusedError):  # b cuts a out
        receiver("c").verify(b.extend(one, "c"))
    other = a.extend(user.start("a", now + 60), "b")
    for chain in ([one[0], other[1]], [two[1]], [*two, two[1]], [], ["x"], [two[0], two[1] + "A"]):
        with pytest.raises(RefusedError):
            receiver("b").verify(chain)
    counting = receiver("b", per_root=3)  # a hands the same part of a chain on again and again
    for _ in range(3):
        counting.verify(a.extend(one, "b"))
    with pytest.raises(RefusedError, match="under one root"):
        counting.verify(a.extend(one, "b"))
    for expires in (now - 1, now + 10_000, float("nan")):
        with pytest.raises(RefusedError, match="expired"):
            receiver("a").verify(user.start("a", expires))
    with pytest.raises(StoreError):
        receiver("a", store=Down()).verify(one)


def test_public_names_are_found_and_load_no_sdk_before_they_are_asked_for():
    for name in defenses._MODULES:
        assert getattr(defenses, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = defenses.nothing
    code = (
        "import sys; from agentcomm.protocols.defenses import Pins, protect; print({'a2a', 'mcp'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_missing_sdk_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "a2a", None)
    monkeypatch.delitem(sys.modules, "agentcomm.protocols.defenses.a2a_users", raising=False)
    for name in [name for name in sys.modules if name.startswith("a2a.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(PluginError, match=r"agentcomm\[a2a\]"):
        _ = defenses.BearerUsers
