"""How agents are built from nodes."""
