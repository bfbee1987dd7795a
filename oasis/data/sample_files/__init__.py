"""Sample files: samples in one HDF5 file.

Layout: attributes `format`, `classes`, `unit`, `shape` (B, *S), `count` and `attributes` (facts from the writer);
groups `image` and `target/<class>`, a map of (B, *S) per sample, sparse (offsets, indices, values) or dense (one
chunk each); `valid` (packed bits); `context`; `meta`, a row per sample; and the group `instances` if known.
"""

from oasis.data.sample_files.reading import SampleFile
from oasis.data.sample_files.writing import write_samples

__all__ = ["SampleFile", "write_samples"]
