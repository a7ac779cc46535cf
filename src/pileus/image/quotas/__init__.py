"""How many images and how much of their data a project may have, by identity's unified limits."""
