"""The plugin for napari: it opens files of maps as layers, and separates a layer with a run."""
