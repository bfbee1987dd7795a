"""Folders: the configuration of one's own images, written from what their folder contains."""

from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from string import Template

from oasis.adapters.camera import Camera
from oasis.adapters.folder.alignment import misaligned
from oasis.adapters.folder.channels import check_endings, likely_endings
from oasis.adapters.folder.intensities import Counts
from oasis.adapters.folder.layout import Layout
from oasis.adapters.folder.measuring import SIGMAS, Found, has_splits, measure, other_size, training_layout
from oasis.adapters.folder.offsets import Compared, compare
from oasis.adapters.folder.options import SplitRule
from oasis.adapters.options import SPLITS
from oasis.errors import DataError
from oasis.io.outputs import check_outputs
from oasis.io.texts import read_text, write_text
from oasis.io.traces import signal_unit
from oasis.io.yaml_text import flow
from oasis.starting.quickstarts import ANOTHER_NAME, is_adapter

TEMPLATE = files("oasis.starting") / "templates" / "folder.yaml.txt"
OVERLAPS = {1: 1, 2: 3, 3: 4}  # weights by number of classes, where nothing is known of the task
MOST = 5  # with more classes
UNEXPLAINED = 0.2  # share of the light by which maps and images may differ
UNEDITED = "# As written (oasis init replaces only files that were not edited): "


def write_folder(
    folder: str | Path,
    out: str | Path | None = None,
    dims: int | None = None,
    camera: Camera | None = None,
    force: bool = False,
    channels: Sequence[str] = (),
) -> tuple[Path, str]:
    """Write the configuration of a folder of images; return its path, and what was found as a text.

    Args:
        folder: the folder.
        out: the YAML file; by default `NAME.yaml` beside the folder's name in the current one.
        dims: number of spatial axes, where the files do not tell.
        camera: offset and gain, as far as they are known.
        force: replace a file that was changed or is another one.
        channels: endings of the names of files that are one channel of an image each.

    Raises:
        ConfigError: no file has the ending of a channel.
        DataError: the folder does not have a known layout, or an output must not be written.
    """
    folder, camera = Path(folder), camera or Camera()
    name = folder.resolve().name
    check_endings(channels, folder)
    counts, layout = Counts(), training_layout(folder, channels)
    found = measure(folder, dims, channels, counts)
    compared = None if found.single or found.labels else compare(layout, camera, counts)
    path = Path(out) if out is not None else Path(f"{name}.yaml")
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        _values(folder, name, found, camera, compared) | {"channels": flow(list(channels))}
    )
    check_outputs({path: is_unedited}, [folder], force=force, mend=ANOTHER_NAME)
    write_text(path, f"{text}{UNEDITED}{_digest(text)}\n")
    lines = [said(folder, found, camera, compared), *_channels_said(layout, channels)]
    return path, "\n".join([*lines, *_moved_said(layout, found, counts), *filter(None, [layout.left_below()])])


def _moved_said(layout: Layout, found: Found, counts: Counts) -> list[str]:
    """Return a line if a map has another size than its image, or all would fit better if moved in the same way."""
    if found.single:
        return []
    if other := other_size(layout, found.spatial_dims, counts):
        return [other]
    move = "" if found.labels else misaligned(layout, found.spatial_dims, counts)
    return [f"the maps would fit the images better {move}: do they lie over each other?"] if move else []


def _channels_said(layout: Layout, channels: Sequence[str]) -> list[str]:
    """Return a line if files look like channels of images and were not said to be."""
    endings = likely_endings([*layout.images] or [name for of_class in layout.maps.values() for name in of_class])
    if channels or not endings:
        return []
    text = ",".join(endings)
    return [f"names differ in {text} alone: if these are the channels of one image, add  --channels {text}"]


def is_folder(name: str) -> bool:
    """Return whether a name means a folder of images; that of a domain does if the folder has a known layout."""
    if not Path(name).is_dir():
        return False
    if not is_adapter(name) or name == "folder":
        return True
    try:
        training_layout(Path(name))
    except DataError:
        return False
    return True


def is_unedited(path: Path) -> bool:
    """Return whether a file is a configuration that `write_folder` wrote, for any folder or camera, unchanged."""
    text, found, digest = read_text(path).rpartition(UNEDITED)
    return bool(found) and digest.strip() == _digest(text)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def said(folder: Path, found: Found, camera: Camera, compared: Compared | None = None) -> str:
    """Return what was found, for people."""
    counts = ", ".join(f"{name} ({number} file{'s' * (number > 1)})" for name, number in found.files.items())
    rule = SplitRule()
    shares = ", ".join(f"{share:.0%}" for share in (1 - rule.val - rule.test, rule.val, rule.test))
    by_hash = f"{shares} of the files, by a hash of their names"
    if min(found.files.values()) < len(SPLITS):
        by_hash = f"{shares} of the images of a stack, the first ones for training"
    split = "the folders of these names" if has_splits(folder) else by_hash
    offset = (
        f"offset of the camera: {camera.offset:g} counts; the darkest 0.1 % of pixels have {found.darkest:.6g}"
    )
    if found.spatial_dims == 1:
        offset = f"offset of the signal: {camera.offset:g}; its lowest 0.1 % have {found.darkest:.6g}"
    lines = [
        f"{folder}: {'images of one class each, to be mixed' if found.single else 'images with maps'}: {counts}",
        f"{found.spatial_dims}D, {found.bands} band{'s' * (found.bands > 1)}; the smallest has "
        f"{' x '.join(map(str, found.smallest))} {'pixels' if found.spatial_dims > 1 else 'samples'}; {found.why}",
        f"train, val and test: {split}",
        offset,
    ]
    looks_offset = camera.offset == 0 and found.darkest > SIGMAS * found.noise
    if looks_offset:
        lines.append(
            f"that looks like an offset: state it (--offset {found.darkest:.0f} or a little more), best as "
            "the mean of a dark frame; right as it is if dark pixels have 0 counts and this is light"
        )
    excess = found.excess - camera.offset * (len(found.classes) - 1)
    if not found.labels and excess > found.noise:
        lines.append(
            f"the maps add up to {excess:.4g} counts more than the images: do they have the offset of the camera? "
            "State it (--offset), or data.maps: unit for maps without offset"
        )
    lines += [found.other] * bool(found.other)
    if compared is not None:
        lines += _light_said(found, camera, compared, looks_offset)
    lines += [f"{name}: looks like label images, which are no maps: see the comment" for name in found.labels]
    return "\n".join(lines)


def _light_said(found: Found, camera: Camera, compared: Compared, looks_offset: bool) -> list[str]:
    """Return what is to be said of the light that is in the maps, and of that which is not."""
    lines, without = [], ", ".join(compared.without)
    if compared.kind != "counts":
        lines.append(
            f"the maps do not have the offset of {camera.offset:g} counts that the images have, so that "
            f"data.maps is {compared.kind}, not counts"
        )
    elif without:
        lines.append(
            f"{without}: the maps do not have the offset of {camera.offset:g} counts, those of other classes "
            "have it: write all of them with it or without"
        )
    if compared.level > camera.gain * found.noise and not looks_offset:
        lines.append(
            f"the images have {compared.level / camera.gain:.4g} counts more than the maps together: a background "
            "that is in no map, or do --offset and data.maps not fit?"
        )
    if abs(compared.share - 1) > UNEXPLAINED:
        lines.append(
            f"the maps have {compared.share:.0%} of the light of the images where they are brightest: do "
            "offset, gain and data.maps fit?"
        )
    return lines


def _unit(folder: Path, camera: Camera) -> str:
    """Return the unit of the signal: that of a table of traces, or what the gain of a camera gives."""
    if camera.gain != 1:
        return "photoelectrons"
    layout = training_layout(folder)
    first = next(
        iter([*layout.images.values()] or [path for paths in layout.maps.values() for path in paths.values()])
    )
    return (signal_unit(first) if first.suffix.lower() == ".csv" else "") or "counts"


def _values(folder: Path, name: str, found: Found, camera: Camera, compared: Compared | None) -> dict[str, object]:
    """Return the values of the template."""
    return {
        "kind": "Images of one class each, to be mixed"
        if found.single
        else "Images with the maps of their classes",
        "name": name,
        "run": flow({"run": f"runs/{name}"})[1:-1],
        "folder": flow({"folder": str(folder)})[1:-1],
        "classes": flow(list(found.classes)),
        "dims": found.spatial_dims,
        "bands": found.bands,
        "size": list(found.size),
        "darkest": f"{found.darkest:.6g}",
        "labels": flow(list(found.labels)),
        "unit": flow({"unit": _unit(folder, camera)})[1:-1].removeprefix("unit: "),
        "maps": "counts" if compared is None else compared.kind,
        "stated": flow(found.stated.model_dump(mode="json")),
        "camera": flow(camera.model_dump()),
        "noise": f"{camera.gain * max(found.noise, min(found.thresholds.values()) / SIGMAS):.3g}",
        "thresholds": flow({key: float(f"{camera.gain * value:.3g}") for key, value in found.thresholds.items()}),
        "weights": flow({size: OVERLAPS.get(size, MOST) for size in range(1, len(found.classes) + 1)}),
    }
