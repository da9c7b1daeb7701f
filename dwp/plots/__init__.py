"""Figures for a paper. They draw what they are given and train nothing."""

import os

try:
    import matplotlib
except ValueError:  # a notebook's MPLBACKEND or a matplotlibrc that this environment cannot use
    os.environ.pop("MPLBACKEND", None)
    os.environ["MATPLOTLIBRC"] = os.devnull
    import matplotlib  # noqa: F401
