"""Zoo: the small trained models that the package contains; `examples/zoo.py` makes them."""
