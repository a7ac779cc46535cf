"""OS-OAUTH2: programs get their tokens as OAuth 2.0's "client credentials" grant wants it."""
