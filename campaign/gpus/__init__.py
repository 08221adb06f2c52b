"""What GPUs there are, who uses them, and how people name them."""
