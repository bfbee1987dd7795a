"""Configuration: the settings of a YAML file, and changes to them."""
