"""The operator's tools: check, repair, back up, migrate and measure a deployment.

The commands of `graph-memory` present their results.
"""
