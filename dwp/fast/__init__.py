"""Faster ways to the same numbers; see `dwp.nn` and `dwp.priors` for the plain ones."""
