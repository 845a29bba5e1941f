"""All that connects a deployment: settings, pools, clients, models, measurements."""
