"""OS-OAUTH1: users let programs ("consumers") act for them on one project, with some of their roles."""
