"""``python -m agentcomm``: the command line."""

from agentcomm.cli.main import main

main()
