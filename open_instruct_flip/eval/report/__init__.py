"""`flip eval report`: results of an evaluation as one page."""
