"""The published policies, one TOML file each, named by the app's key."""
