"""Which models export: each is written and checked as by `oasis export`, and the sizes that it takes are listed.

python benchmarks/exports.py                                   # the table of docs/howto/export.md; about 15 min
python benchmarks/exports.py unet smp/unet-resnet18 --format torch
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

from oasis.command import run_script
from oasis.errors import OasisError
from oasis.export.export import ExportFacts, export_separator
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator

MODELS = (
    *("unet", "smp/unet-resnet18", "smp/unetplusplus-resnet18", "smp/fpn-efficientnet-b0"),
    *("smp/deeplabv3plus-mobilenet_v2", "smp/segformer-mit_b0", "timm/resnet18", "timm/efficientnet_b0"),
    *("timm/convnext_atto", "timm/swin_tiny_patch4_window7_224", "monai/UNet", "monai/BasicUNet"),
    *("monai/SegResNet", "monai/DynUNet", "monai/AttentionUnet", "monai/SwinUNETR"),
)
SIZE = (64, 96)
FIXED = {"timm/swin_tiny_patch4_window7_224": {"img_size": list(SIZE)}}
SMALL = {"monai/SwinUNETR": {"feature_size": 12}}


def main() -> None:
    """Print a row of a Markdown table for every model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--format", nargs="+", default=["onnx"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | " + " | ".join(options.format) + " |\n|---|" + "---|" * len(options.format), flush=True)
    for name in options.models:
        print(f"| `{name}` | " + " | ".join(row(name, kind) for kind in options.format) + " |", flush=True)


def row(name: str, kind: str) -> str:
    """Return what a model becomes in a format."""
    torch.manual_seed(0)
    begun = time.monotonic()
    model = {"name": name, **FIXED.get(name, {}), **SMALL.get(name, {})}
    options = SeparatorOptions(classes=("a", "b"), model=model, trained_size=SIZE)
    facts = ExportFacts({"a": 0.0, "b": 0.0}, None, {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        try:
            card = export_separator(Separator(options), path, kind, facts)
        except OasisError as error:
            return f"no: {str(error).replace('|', '/')[:200]}"
        size = {"any": "any size", "multiples": f"multiples of {card.multiple_of}", "trained": "trained size"}
        batch = "" if card.inputs[0].shape[0] == "batch" else ", one image at a time"
        megabytes = path.stat().st_size / 1e6
        took = time.monotonic() - begun
    return f"{size[card.size]}{batch}; {card.check.difference:.0e}; {megabytes:.1f} MB in {took:.0f} s"


if __name__ == "__main__":
    sys.exit(run_script(main))
