"""HTTP message signatures against the vectors of RFC 9421, appendix B.2, and against attackers who know them."""

import base64

import pytest

from agentcomm.protocols.defenses.errors import RefusedError, StoreError
from agentcomm.protocols.defenses.http_signatures import (
    Request,
    RequestVerifier,
    authority,
    content_digest,
    sign,
    signature_base,
)
from agentcomm.protocols.defenses.keys import PrivateKey, SharedKey
from agentcomm.protocols.defenses.store import MemoryStore, Store

BODY = b'{"hello": "world"}'
RFC = Request(
    "POST",
    "https://example.com/foo?param=Value&Pet=dog",
    {"date": "Tue, 20 Apr 2021 02:07:55 GMT", "content-type": "application/json", "content-length": "18"},
    BODY,
)
KEY = SharedKey(b"k" * 32)


class Down(Store):
    def _update(self, *_):
        raise OSError("disk gone")


def test_vector_hmac_sha256():  # B.2.5
    secret = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
    params = '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    made = SharedKey(base64.b64decode(secret)).sign(signature_base(RFC, ["date", "@authority", "content-type"], params))
    assert base64.b64encode(made) == b"pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="


def test_vector_ed25519():  # B.2.6
    names = ["date", "@method", "@path", "@authority", "content-type", "content-length"]
    params = '({});created=1618884473;keyid="test-key-ed25519"'.format(" ".join(f'"{name}"' for name in names))
    key = PrivateKey(base64.urlsafe_b64decode("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU="))
    assert base64.urlsafe_b64encode(key.public.raw) == b"JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs="
    made = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    assert key.public.verify(base64.b64decode(made), signature_base(RFC, names, params))


def test_vector_content_digest():  # RFC 9530, appendix D
    assert content_digest(b'{"hello": "world"}\n') == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


def test_authority():
    assert [authority(url) for url in ("https://A.example:443/", "http://a.example:8080", "http://[::1]:80/")] == [
        "a.example",
        "a.example:8080",
        "[::1]",
    ]


def request(body=BODY, **changes):
    fields = {"method": "POST", "url": "http://agent.example/rpc", "headers": {"content-type": "application/json"}}
    made = Request(**{**fields, **changes}, body=body)
    return Request(made.method, made.url, {**made.headers, **sign(made, "alice", KEY)}, body)


def verifier(**options):
    return RequestVerifier({"alice": KEY}, **options)


def test_signed_requests_pass_once():
    check = verifier()
    sent = request()
    assert check.verify(sent) == "alice"
    assert check.verify(request()) == "alice"  # the same millisecond, another nonce
    assert check.verify(request(b"", method="GET")) == "alice"
    with pytest.raises(RefusedError, match="received before"):
        check.verify(sent)
    with pytest.raises(StoreError):
        verifier(store=Down()).verify(sent)


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://other.example/rpc"},
        {"url": "http://agent.example/admin"},
        {"url": "http://agent.example/rpc?x=1"},
        {"method": "PUT"},
        {"body": BODY.replace(b"world", b"worle")},
    ],
)
def test_what_is_covered_cannot_be_changed(change):
    sent = request()
    parts = {"method": sent.method, "url": sent.url, "headers": sent.headers, "body": sent.body, **change}
    with pytest.raises(RefusedError):
        verifier().verify(Request(**parts))
    digest = {**sent.headers, "content-digest": content_digest(parts["body"])}  # the attacker mends the digest
    with pytest.raises(RefusedError):
        verifier().verify(Request(**{**parts, "headers": digest}))


def covering(names, extra='created={now};nonce="n";keyid="alice"', key=KEY, name="alice", headers=None):
    """A signature by the true key that covers too little, as a careless or old client makes it."""
    import time

    body = {"content-type": "application/json", "content-digest": content_digest(BODY), **(headers or {})}
    made = Request("POST", "http://agent.example/rpc", body, BODY)
    params = "({});{}".format(" ".join(f'"{n}"' for n in names), extra.format(now=int(time.time())))
    signature = base64.b64encode(key.sign(signature_base(made, names, params))).decode()
    signed = {**body, "signature-input": f"x={params}", "signature": f"x=:{signature}:"}
    return Request(made.method, made.url, signed, BODY)


FULL = ["@method", "@authority", "@path", "@query", "content-digest", "content-type"]


def test_full_coverage_under_any_label_passes():
    assert verifier().verify(covering(FULL)) == "alice"


@pytest.mark.parametrize("left_out", FULL)
def test_missing_components_are_refused(left_out):
    with pytest.raises(RefusedError, match=f"does not cover {left_out}"):
        verifier().verify(covering([name for name in FULL if name != left_out]))


@pytest.mark.parametrize(
    "extra",
    [
        'created={now};keyid="alice"',
        'nonce="n";keyid="alice"',
        'created={now};nonce="n"',
        'created=1;nonce="n";keyid="alice"',
        'created={now}0;nonce="n";keyid="alice"',
        'created={now};expires=1;nonce="n";keyid="alice"',
        'created={now};nonce="n";keyid="bob"',
        'created={now};nonce="n";keyid="alice";alg="ed25519"',
        'created={now};nonce="n";nonce="m";keyid="alice"',
        'created="{now}";nonce="n";keyid="alice"',
    ],
)
def test_parameters_are_obligatory_and_checked(extra):
    with pytest.raises(RefusedError):
        verifier().verify(covering(FULL, extra))


def test_malformed_and_joined_signatures_are_refused():
    good = covering(FULL)
    given, signed = good.headers["signature-input"], good.headers["signature"]
    for field in (
        {"signature": ""},
        {"signature-input": ""},
        {"signature": f"{signed}, {signed}"},
        {"signature-input": f"{given}, y={given[2:]}"},
        {"signature": signed.replace("x=", "y=")},
        {"signature-input": given.replace('"@path"', '"@path";req')},
        {"signature-input": "x=" + '("a" ' * 2000},
        {"signature": "x=:" + "A" * 5000 + ":"},
        {"signature": signed[:-3] + "A=:"},
    ):
        with pytest.raises(RefusedError):
            verifier().verify(Request(good.method, good.url, {**good.headers, **field}, BODY))
    with pytest.raises(RefusedError, match="each component once"):
        verifier().verify(covering([*FULL, "@path"]))


def test_nonces_of_one_key_are_bounded_and_not_another_s():
    check = RequestVerifier({"alice": KEY, "bob": KEY}, store=MemoryStore(share=1))
    check.verify(covering(FULL))
    with pytest.raises(StoreError, match="no room"):
        check.verify(covering(FULL, 'created={now};nonce="m";keyid="alice"'))
    assert check.verify(covering(FULL, 'created={now};nonce="n";keyid="bob"')) == "bob"
