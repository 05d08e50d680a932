"""Model to graph to verified bundle; torch lives here."""
