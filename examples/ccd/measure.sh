#!/bin/sh
# Every number of docs/ccd.md: trains three networks in turn. Run it from the folder that contains examples/.
set -e
runs=runs/ccd_study
train() { name=$1; shift; oasis train examples/ccd/quickstart.yaml --run $runs/$name "$@"; }

train weighted
train unweighted --set loss.region_weights={}
python examples/ccd/compare.py $runs/weighted $runs/unweighted --out $runs/comparison

# electrons of 100-200 keV from the front, from the back, and from within the wafer
train diagnostic --set data.sample=diagnostic --set loss.class_weights={} --set data.merge_electrons=false
python examples/ccd/compare.py $runs/diagnostic --rates 1 --out $runs/diagnostic_comparison
