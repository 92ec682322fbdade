"""Is what the engines make good? One file per kind of check."""
