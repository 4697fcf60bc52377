"""What is fitted: parameters, loss, gradient, and a compiled run of SGD steps."""
