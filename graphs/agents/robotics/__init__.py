"""The example's business, robot financing: rules, queries, tools and demo data.

It is deleted together with the example agents.
"""
