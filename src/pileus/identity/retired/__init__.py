"""What is left of tokens that were signed documents (PKI): paths that say so."""
