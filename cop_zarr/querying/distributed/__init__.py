"""Past one machine: what is large is cut into parts, and the workers of a cluster do each.

Every part is done by the code that does all of it on one machine, and gives the same bits.
"""
