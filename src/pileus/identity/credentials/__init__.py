"""What identity keeps for others: users' credentials, encrypted, and policy documents."""
