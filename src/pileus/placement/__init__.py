"""Who has how much of what, and who takes it: inventories of hosts and the allocations against them."""
