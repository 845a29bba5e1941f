"""Everything that connects a deployment: settings, pools, clients, models, metrics."""
