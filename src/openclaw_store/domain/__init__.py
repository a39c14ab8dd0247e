"""What a cluster is: immutable values and the rules that they keep.

Nothing in here does I/O, knows SQLAlchemy, or reads a clock: times come in as arguments.
"""
