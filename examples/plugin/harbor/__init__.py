"""An environment, a policy, an attack and a defense for agentcomm, as a package of their own."""
