"""parsgd side by side with what users would pick instead: problems × solvers, and figures made of them."""
