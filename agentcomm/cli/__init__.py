"""The command line: see :mod:`agentcomm.cli.main`.

What loads torch or scipy, which takes seconds, is imported in the functions of the commands: help, completion and
mistakes of usage come at once.
"""
