"""Federation: users of other identity providers, let in by OpenID Connect and mapped to users, groups and projects."""
