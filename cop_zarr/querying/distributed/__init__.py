"""Queries on a Dask cluster: the work is cut into groups, and each worker answers groups.

A group is answered by the code that answers all of it on one machine.
"""
