"""Solvers of F(z) = 0 and of the linear systems in J; each sequence is a system of its own."""
