"""Where images' bytes are kept."""
