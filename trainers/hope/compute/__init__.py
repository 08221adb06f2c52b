"""How the arithmetic of a HOPE step is carried out: compilation, CUDA graphs."""
