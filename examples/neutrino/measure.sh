#!/bin/sh
# Every number of docs/neutrino.md: trains three networks in turn. Run it from the folder that contains examples/.
set -e
runs=runs/neutrino_study
train() { name=$1; shift; oasis train examples/neutrino/quickstart.yaml --run $runs/$name "$@"; }

train weighted
train unweighted --set loss.region_weights={}
train softplus --set head.name=softplus
python examples/neutrino/compare.py $runs/weighted $runs/unweighted $runs/softplus --refine --out $runs/comparison
