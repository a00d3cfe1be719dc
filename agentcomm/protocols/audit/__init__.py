"""The audit of one's own endpoint: controls, probes, verdicts."""
