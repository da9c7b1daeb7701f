"""What turns a config into runs: typed settings, the grid, costs, fingerprints of code, kept runs."""
