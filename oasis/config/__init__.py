"""Configuration: what a YAML file states, and changes to it."""
