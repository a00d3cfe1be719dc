"""Certificates: what no attack of a given kind can change, proved for the decisions that a team has taken."""
