"""Bayesian layers, networks, their initial weights, and predictions."""
