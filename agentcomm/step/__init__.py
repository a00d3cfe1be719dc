"""One step of a team: observations, messages, actions and rewards, and what is done to them."""
