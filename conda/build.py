"""Builds the package of the recipe from this tree, without a channel: python conda/build.py FOLDER.

What the package needs is read from the recipe but not installed, so that this checks the recipe, the files of the
package and its metadata. Where conda-forge can be reached: `rattler-build build -r conda/recipe.yaml`.
"""

import sys
from pathlib import Path

import rattler_build

ROOT = Path(__file__).parent.parent
PINNED = {"python_min": ["3.11"]}


def recipe() -> rattler_build.Stage0Recipe:
    """Return the recipe with this tree as its source, and with this Python instead of a host environment."""
    values = rattler_build.Stage0Recipe.from_file(ROOT / "conda/recipe.yaml").to_dict()
    values["source"] = {"path": str(ROOT), "use_gitignore": True}
    values["requirements"]["host"] = []
    (command,) = values["build"]["script"]["content"]
    values["build"]["script"] = f"{command.replace('${{ PYTHON }}', sys.executable)} --prefix $PREFIX"
    values["tests"] = []
    return rattler_build.Stage0Recipe.from_dict(values)


def main(folder: str) -> None:
    """Build the package and print what it consists of."""
    variant = rattler_build.VariantConfig(PINNED)
    recipe().run_build(variant_config=variant, output_dir=folder, channels=[])
    for path in sorted(Path(folder).glob("noarch/*.conda")):
        package = rattler_build.Package.from_file(path)
        print(f"{path}: {len(package.files)} files, {path.stat().st_size / 1e6:.1f} MB; needs {package.depends}")


if __name__ == "__main__":
    main(sys.argv[1])
