"""The viewer: images of a run in a browser, with maps, residual, presence, outlines and intensities."""
