"""`flip eval attacks`: how far a judge's rewards move when a response talks to the judge instead of doing its task."""
