"""What is measured: one script a case, run by its path in a process of its own.

The scripts stand alone, because some of them run in the interpreter that has rs-embed and not this
project. They take their arguments from ``sys.argv`` as they come: a parser's import would count as
part of a first query.
"""
