"""Bundle to vectors, scores and rewards; no torch in here."""
