"""How each cell is measured, inside the process that measures it."""
