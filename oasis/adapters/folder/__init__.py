"""Own images: folders of images with the maps of their classes, or of images of one class each."""

from oasis.adapters.folder.adapter import FolderAdapter

__all__ = ["FolderAdapter"]
