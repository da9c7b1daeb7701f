"""Faster ways to the same numbers; the plain ones are in `dwp.nn` and `dwp.priors`.

All of them are entered by `faster`, and switched off by `faster(False)`.
"""

from dwp.fast.door import faster
from dwp.fast.visible import visible

__all__ = ["faster", "visible"]
