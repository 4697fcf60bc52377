"""Ray API of parsgd: the engine with its settings.

>>> from parsgd.ray import Ray
>>> Ray(n_processes=2).name
'ray'
"""

from parsgd.engines.ray.ray_engine import Ray

__all__ = ["Ray"]
