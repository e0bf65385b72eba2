"""Library: methods, tables of papers, the map of the space."""
