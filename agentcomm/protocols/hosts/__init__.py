"""Defenses inside other harnesses: AgentDojo and Inspect. Each host is imported only by the module that serves it."""
