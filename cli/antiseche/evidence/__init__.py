"""Results, drift and the chained store of runs."""
