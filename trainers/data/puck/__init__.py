"""A puck on a table: its motion, its picture, and fixed random features of the picture."""
