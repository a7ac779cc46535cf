"""Tasks: what is shown of long work on images."""
