"""Configuration of single domains: where their users are, and how an LDAP server is asked for them."""
