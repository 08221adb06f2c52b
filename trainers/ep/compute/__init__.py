"""How the arithmetic of a step is carried out: CUDA graphs, compilation, TF32 products."""
