"""The runtime of `whodid`: what a serving image holds. Never imports `training`."""
