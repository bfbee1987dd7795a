"""Catalogues: objects are detected in images of any size, separated one by one, and listed."""
