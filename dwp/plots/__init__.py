"""Figures for a paper. They draw what they are given and train nothing."""

import contextlib
import os
import sys

try:
    import matplotlib
except ValueError:  # a notebook's MPLBACKEND or a matplotlibrc that this environment cannot use
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]  # half imported
    os.environ.pop("MPLBACKEND", None)
    os.environ["MATPLOTLIBRC"] = os.devnull
    with contextlib.chdir(os.path.dirname(__file__)):  # the working folder may have a matplotlibrc
        import matplotlib  # noqa: F401
