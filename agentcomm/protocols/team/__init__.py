"""A team of processes: one per agent, which hear each other and their environment over an agent protocol only."""
