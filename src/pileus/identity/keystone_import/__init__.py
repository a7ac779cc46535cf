"""The import of users, projects, roles and who holds which, from the database of a Keystone or from a dump of it."""
