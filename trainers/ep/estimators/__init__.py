"""Ways to the gradient of a loss at an equilibrium: four solve for the adjoint, two unroll the relaxation."""
