"""Export: a separator as one file for other programs and languages, checked against the run, with a model card."""
