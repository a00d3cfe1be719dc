"""Attacks on real agent protocols, each with its outcome predicate."""
