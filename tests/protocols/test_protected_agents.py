"""The example of the documentation runs, and shows what it says."""

import subprocess
import sys
from pathlib import Path


def test_the_example_protects_both_agents():
    example = Path(__file__).parents[2] / "examples" / "protected_agents.py"
    run = subprocess.run([sys.executable, example], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "agent: HELLO",
        "agent: HELLO",
        "executed: ['hello']",
        "a page of another site: 403 pages of that origin may not call this server",
        "tool: 5",
    ]
