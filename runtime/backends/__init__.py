"""The libraries that run a graph, behind one protocol; ``session.py`` is the only one that asks for one."""
