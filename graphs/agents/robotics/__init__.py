"""The example's business, robot financing: rules, queries, tools and demo data.

Whoever deletes the example agents deletes this package too.
"""
