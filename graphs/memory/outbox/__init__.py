"""What services outside are told: intents, deliveries, and how theirs compares with ours."""
