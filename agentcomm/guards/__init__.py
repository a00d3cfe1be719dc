"""Guards: what holds an attack to its threat model, one per hook over a base that they share."""
