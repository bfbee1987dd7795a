"""Loading: an ablation from its YAML file or its folder, checked before anything is trained."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from oasis.ablation.ablation import ABLATION, Ablation, weight_at
from oasis.ablation.factors import figure_name
from oasis.ablation.options import AblationOptions
from oasis.ablation.trial import metric_names
from oasis.config.changes import parse_change, set_key
from oasis.errors import ConfigError, nearest, shown
from oasis.io.outputs import check_outputs
from oasis.io.yaml_text import read_yaml
from oasis.plugins import is_code
from oasis.run import Run
from oasis.stats.bins import Bin, bins_of

TABLES = ("ablation.csv", "factors.csv", "search.csv", "search_test.csv", "search.json", "search.txt")


def load_ablation(
    path: str | Path,
    changes: Sequence[str] = (),
    folder: str | Path | None = None,
    trust_code: bool = False,
) -> Ablation:
    """Read an ablation from its YAML file or from its folder.

    Args:
        path: the path of the file or the folder.
        changes: `"training.epochs=20"` and the like, for all trials; the value is read as YAML.
        folder: the folder for all outputs, instead of the file's `run`.
        trust_code: run the Python files that the folder of the ablation or of the base names.

    Raises:
        ConfigError: the ablation or its base is not YAML, or has an unknown key or an invalid value.
    """
    path, sent = Path(path), Path(path).is_dir()
    if sent:
        path = path / ABLATION
    stated = read_yaml(path)
    if sent and not trust_code:
        _check_no_code(stated, path)
    options = AblationOptions.parse(stated, where=str(path))
    if isinstance(options.base, str):
        base = _base(path.parent / options.base, sent, trust_code)
    else:
        base = Run.from_values(options.base, f"{path}: base")
    values = base.config.model_dump(mode="json")
    for key, value in {**options.changes, **dict(map(parse_change, changes))}.items():
        set_key(values, key, value)
    if options.seeds and values["data_seed"] is None:
        values["data_seed"] = values["seed"]
    run = Run.from_values(values, f"{path}: base")
    if not sent:
        base_file = [path.parent / options.base] if isinstance(options.base, str) else []
        _check_outputs(options, Path(folder or options.run), [path, *base_file])
    options = options.model_copy(update={"base": values, "changes": {}, "run": str(folder or options.run)})
    if run.adapter.study is None:
        raise ConfigError(f"{path}: the adapter {values['adapter']} states no study whose metrics can be measured")
    ablation = Ablation(options, values, run.adapter.study, run.adapter.unit)
    _check(ablation, str(path))
    return ablation


def _check_outputs(options: AblationOptions, folder: Path, inputs: Sequence[Path]) -> None:
    """Check that files in the folder with the names of outputs belong to an ablation."""
    begun = folder / ABLATION

    def is_ours(path: Path) -> bool:
        return isinstance(read_yaml(begun).get("base"), Mapping)

    figures = map(figure_name, (*options.grid, *options.ratios))
    check_outputs({folder / name: is_ours for name in (ABLATION, *TABLES, *figures)}, inputs)


def _base(path: Path, sent: bool, trust_code: bool) -> Run:
    """Return the run that an ablation varies; its code is run if the user named its file or trusts it."""
    if path.is_dir():
        return Run(path, trust_code=trust_code)
    if sent and not trust_code:
        _check_no_code(read_yaml(path), path)
    return Run.from_config(path)


def _check_no_code(values: Any, path: Path) -> None:
    if isinstance(values, Mapping):
        values = [*values, *values.values()]
    if isinstance(values, list):
        for value in values:
            _check_no_code(value, path)
    elif isinstance(values, str) and is_code(values):
        raise ConfigError(
            f"{path}: the ablation names code, {shown(values)}, which is not executed without permission: if you "
            "trust its author, pass --trust-code (in Python trust_code=True)"
        )


def _check(ablation: Ablation, where: str) -> None:
    """Check the options against the base."""
    options, base, study = ablation.options, ablation.base, ablation.study
    for name, keys in ablation.ratios.items():
        for key in keys:
            values = copy.deepcopy(dict(base))
            set_key(values, key, weight_at(values, key))
            Run.from_values(values, f"{where}: ratios.{name}")
    bins, known = [one.name for one in bins_of(study.edges)], metric_names(study)
    if options.bin is not None and Bin(*options.bin).name not in bins:
        raise ConfigError(f"{where}: bin: the study has no {Bin(*options.bin).name}; known: {', '.join(bins)}")
    for name in options.objective:
        if name.strip("|") not in known:
            raise ConfigError(f"{where}: objective: unknown {name!r}; {nearest(name.strip('|'), known)}")
    if base["training"]["devices"] > 1 or base["training"]["nodes"] > 1:
        raise ConfigError(
            f"{where}: training.devices, training.nodes: a trial has one device, found "
            f"{base['training']['devices'] * base['training']['nodes']}: start the command once for each device"
        )
