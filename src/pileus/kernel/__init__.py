"""The shared floor of all services. It knows none of them."""
