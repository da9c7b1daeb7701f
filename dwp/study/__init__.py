"""A config turned into runs: settings, grid, costs, fingerprints of code, kept runs."""
