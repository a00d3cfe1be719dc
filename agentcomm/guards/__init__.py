"""Guards: they hold attacks to their threat models, with one guard per hook over a base shared by all hooks."""
