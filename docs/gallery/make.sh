#!/usr/bin/env bash
# Train the networks of the gallery and write their pages, then the screenshots of the README. Needs the extra `browser`.
# Usage: docs/gallery/make.sh FOLDER, which holds shakespeare.txt, folksongs.abc and the folder python-source.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
options=(--config lstm --steps 3000 --threads 1 --seed 1 --overwrite)
for key in model.hidden_size=96 train.seq_length=64 optimizer.{learning_rate=0.004,weight_decay=0} \
  log.{eval_every=200,sample_every=200,sample_length=400}; do
  options+=(--set "$key")
done
charrnn train shakespeare.txt "${options[@]}" --out runs/shakespeare
charrnn train python-source "${options[@]}" --out runs/python-source
charrnn train folksongs.abc --document-separator '\n\n' "${options[@]}" --out runs/folksongs
for name in shakespeare python-source folksongs; do
  charrnn report "runs/$name" -o "$here/$name.html"
  sed -i "s|$PWD/||g" "$here/$name.html" # names of files instead of paths
  charrnn export "runs/$name" "$here/$name-playground.html" --half
done
python "$here/screenshots.py"
