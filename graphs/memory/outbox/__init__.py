"""The outbox: intents, their deliveries to external services, and comparisons in the shadow."""
