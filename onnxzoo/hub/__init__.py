"""Locating models on this machine and on the Hugging Face Hub, downloading them, and publishing them.

    lookup      resolves a name, a folder or USER/NAME[@REVISION]; imports nothing heavy
    names       parses USER/NAME[@REVISION]; the namespace of the registry's models
    client      wraps huggingface_hub's client: makes every request and translates its errors
    answers     reads a repo's metadata from the Hub and checks its types
    snapshot    a Hub repo at one commit: its artifact, and its files on demand
    offline     the same from huggingface_hub's cache alone; verifies the cached files
    official    the official weights of the registry's models
    inventory   lists, verifies and removes the files kept on this machine
    package     selects the files of an artifact to upload
    publish     uploads them to a Hub repo
    listing     lists the published revisions of a Hub repo
    card        the model card; card_metadata writes the metadata that the Hub reads

Only this package imports huggingface_hub. It does so without its telemetry: the client would ask the Hub for a list of
coding agents, to name the one that runs it in every request. A value of HF_HUB_DISABLE_TELEMETRY set by the user holds.
"""

import os

from .lookup import SHIPPED_DIR, cached_models, locate, require_own, shipped_models, was_assembled

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported

__all__ = ["SHIPPED_DIR", "cached_models", "locate", "require_own", "shipped_models", "was_assembled"]
