"""EC2 credentials, and what requests that were signed with them are good for."""
