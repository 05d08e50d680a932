"""The routes: one file a family, each with its bodies, its answers and its thin handlers."""
