"""Combine: trained runs put together, live."""
