#!/bin/sh
# Every number of docs/waveform.md: trains five networks in turn. Run it from the folder that contains examples/.
set -e
runs=runs/waveform_study
train() { name=$1; shift; oasis train examples/waveform/quickstart.yaml --run $runs/$name "$@"; }

train weighted
train unweighted --set loss.class_weights={} --set loss.region_weights={}
train softplus --set head.name=softplus
train fraction --set head.name=fraction
for name in weighted unweighted softplus fraction; do oasis evaluate $runs/$name; done
oasis compare $runs/unweighted $runs/weighted
oasis compare $runs/softplus $runs/fraction $runs/weighted

# comparison with triggers: with the structured background, then with noise alone
set -- $runs/weighted $runs/unweighted $runs/softplus $runs/fraction
python examples/waveform/compare.py "$@" --out $runs/comparison
python examples/waveform/compare.py "$@" --out $runs/comparison_noise --set 'data.background={pulses: 0, pickup: 0}'

# pile-up
oasis train examples/waveform/pulses.yaml --run $runs/pulses
oasis evaluate $runs/pulses
