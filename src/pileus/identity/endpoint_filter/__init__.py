"""OS-EP-FILTER: which endpoints the catalog of a project's tokens shows."""
