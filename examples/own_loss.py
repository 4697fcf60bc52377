"""A custom loss: expectiles, between a mean and a quantile (Newey and Powell 1987).

A loss is any object with these two methods. Its attributes must be numbers, and it is compiled on first use.
"""

from dataclasses import dataclass

import numpy as np

from parsgd import SGDRegressor


@dataclass
class Expectile:
    """``w (y - p)^2 / 2``, with w = ``level`` if the prediction is too low and ``1 - level`` if it is too high."""

    level: float = 0.9

    def loss(self, y, p):
        return 0.5 * (self.level if y > p else 1.0 - self.level) * (y - p) ** 2

    def gradient(self, y, p):
        """The derivative with respect to p."""
        return (self.level if y > p else 1.0 - self.level) * (p - y)


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5000, 3))
    y = X @ [1.0, 2.0, 3.0] + rng.standard_normal(5000)

    middle, high = (
        SGDRegressor(Expectile(level), n_jobs=2, algorithm="local", random_state=0).fit(X, y) for level in (0.5, 0.9)
    )
    print("rows below the prediction:", (y < middle.predict(X)).mean(), (y < high.predict(X)).mean())
