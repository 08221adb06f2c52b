"""Three ways to the gradient of a loss at an equilibrium."""
