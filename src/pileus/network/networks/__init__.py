"""Networks: layer 2 segments."""
