"""Application credentials: secrets of a user's for programs, good for one project and no more than chosen roles."""
