"""The command line: see :mod:`agentcomm.cli.main`."""
