"""What the example agents do: financing robots. Rules, queries, tools and demo data; deleted with the agents."""
