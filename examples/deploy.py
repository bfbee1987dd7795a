"""Separate images with an exported model, by numpy and onnxruntime alone: no torch, no oasis.

    oasis export runs/migdal                                   # writes runs/migdal/model.onnx
    python examples/deploy.py runs/migdal/model.onnx frames.npy --out maps.npz

Images are an array `(images, *spatial)` with one band or `(images, bands, *spatial)`, in the unit that the model
was trained in. An array of the same number of images is the context (`--context`) where the model has one.
"""

import argparse
import json

import numpy as np
import onnxruntime

BATCH = 8  # images at a time


def load(path):
    """Return the session and the model card of a file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session, json.loads(session.get_modelmeta().custom_metadata_map["oasis"])


def separate(session, card, images, context=None):
    """Return the outputs by name: `maps` (images, classes, bands, *spatial), and what else the model predicts."""
    batch = BATCH if card["inputs"][0]["shape"][0] == "batch" else 1
    parts = []
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        given = {"image": images[part], "valid": np.ones_like(images[part, :1], dtype=bool)}
        if context is not None:
            given["context"] = context[part]
        parts.append(session.run(None, {one["name"]: given[one["name"]] for one in card["inputs"]}))
    return {
        one["name"]: np.concatenate(found)
        for one, found in zip(card["outputs"], zip(*parts, strict=True), strict=True)
    }


def read(path, card, name):
    """Return an array of images of a file, with the axes of an input of the model."""
    axes = next(one["shape"] for one in card["inputs"] if one["name"] == name)
    array = np.load(path, allow_pickle=False).astype(np.float32)
    if array.ndim == len(axes) - 1:
        array = array[:, None]
    if array.ndim != len(axes) or array.shape[1] != int(axes[1]):
        raise SystemExit(f"{path}: an array of shape {array.shape}, expected {name} ({', '.join(axes)})")
    sizes = array.shape[2:]
    fits = all(length >= card["smallest"] and length % card["multiple_of"] == 0 for length in sizes)
    if list(sizes) != card["trained_size"] if card["size"] == "trained" else not fits:
        raise SystemExit(f"{path}: images of {sizes} pixels, but the model takes {card['sizes']}")
    return array


def main():
    """Separate the images of a file and print the intensity of every class."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="an .onnx file that oasis export wrote")
    parser.add_argument("images", help="an .npy file")
    parser.add_argument("--context", help="an .npy file")
    parser.add_argument("--out", help="an .npz file for the maps")
    options = parser.parse_args()
    session, card = load(options.model)
    if any(one["name"] == "context" for one in card["inputs"]) != bool(options.context):
        raise SystemExit("--context: needed by a model that has the input `context`, and by no other")
    context = read(options.context, card, "context") if options.context else None
    found = separate(session, card, read(options.images, card, "image"), context)
    for label, name in enumerate(card["classes"]):
        total = found["maps"][:, label].reshape(len(found["maps"]), -1).sum(axis=1)
        print(f"{name}: {total.mean():.6g} {card['unit']} per image")
    if options.out:
        np.savez(options.out, **found, classes=card["classes"])


if __name__ == "__main__":
    main()
