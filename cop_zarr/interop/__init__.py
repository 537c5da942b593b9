"""The store and its answers, as other libraries want them.

Each module needs the package it is named after.
"""
