"""Reading run folders, whatever became of the runs: no torch, no Hydra, no tracker's format."""
