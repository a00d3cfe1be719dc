"""A team of processes: one per agent, which hear each other and their environment over an agent protocol only."""

# Seconds that an agent waits for a message of another one, and a command for its agents to start. On an idle machine
# both take seconds at most. Agents that die are noticed at once, so only agents that hang are waited for.
PATIENCE = 600.0
