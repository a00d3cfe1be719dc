"""my_attack keeps the contract of its axis, and agentcomm finds it."""

from agentcomm.base.registry import find
from agentcomm.conformance import check

from agentcomm.cli.templates.attack import MyAttack  # isort: skip


def test_it_keeps_its_contract() -> None:
    check(MyAttack)


def test_it_is_installed() -> None:
    assert find("attack", "my_attack") is MyAttack
