"""What runs on the hosts, under the names that Neutron's clients know, and the zones and providers it makes up."""
