"""Models: parameters, loss, gradient, and a compiled run of SGD steps."""
