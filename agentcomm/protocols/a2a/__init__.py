"""The protocol A2A, over the package ``a2a-sdk``."""
