"""Host aggregates: groups of hosts with metadata, which make availability zones and guide the scheduler."""
