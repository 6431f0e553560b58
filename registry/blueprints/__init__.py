"""The HTTP interfaces of the registry, for package clients, API clients, and browsers. Only this package uses Flask's
requests and responses.
"""
