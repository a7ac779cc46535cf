"""Directories: domains whose users and groups are in an LDAP server, which is read and never written."""
