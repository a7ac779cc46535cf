"""Networks made of what the Linux kernel has: bridges, namespaces, nftables; and dnsmasq."""
