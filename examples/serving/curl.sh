#!/bin/sh
# Classify a photo with a server, by curl: sh curl.sh http://127.0.0.1:8080 MODEL PHOTO
set -eu
url=$1 model=$2 photo=$3

# Ready once all models are loaded and warm.
curl --fail --silent --show-error "$url/v2/health/ready"
echo

# The inputs, the outputs, the labels and the preprocessing.
curl --fail --silent --show-error "$url/v2/models/$model"
echo

# The body is nothing but the photo, because its JSON has the length 0.
curl --fail --silent --show-error --header 'Inference-Header-Content-Length: 0' --data-binary "@$photo" \
    "$url/v2/models/$model/infer?top_k=2"
echo

# Requests, images, errors, and the time that requests wait, are decoded and run.
curl --fail --silent --show-error "$url/metrics" | grep '^onnxzoo_images_total'
