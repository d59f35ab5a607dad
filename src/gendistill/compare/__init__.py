"""Compare the results of two experiments, or of two revisions. Reads the small files of `results/` only, here or from git."""
