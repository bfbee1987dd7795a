#!/bin/sh
# The measurements of docs/ccd.md, and those that are missing there. Run it from the folder that contains examples/.
set -e
runs=runs/ccd_study
train() {
    name=$1
    shift
    oasis train examples/ccd/quickstart.yaml --run $runs/$name "$@"
}

train weighted
train unweighted --set loss.region_weights={}
oasis train examples/ccd/large.yaml --run $runs/large
python examples/ccd/compare.py $runs/weighted $runs/unweighted $runs/large --images 30 --out $runs/comparison \
    --set data_seed=0 --set 'data.events={train: 1600, val: 8, test: 60}'  # the same images for all
python examples/ccd/compare.py $runs/large --flips --images 30 --out $runs/comparison_flips \
    --set data_seed=0 --set 'data.events={train: 1600, val: 8, test: 60}'  # the mean over four flips

# electrons of 100-200 keV from the front, from the back, and from within the wafer
train diagnostic --set data.sample=diagnostic --set data.merge_electrons=false --set loss.class_weights={}
python examples/ccd/compare.py $runs/diagnostic --rates 1 --out $runs/diagnostic_comparison
