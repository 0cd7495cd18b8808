"""Where models are, on this machine and on the Hugging Face Hub, and how they travel between the two.

    lookup      where a name, a folder or USER/NAME[@REVISION] leads; imports nothing heavy
    names       USER/NAME[@REVISION], the namespace of the registry's models
    client      huggingface_hub's client: every request, and its errors as ours
    answers     what the Hub says of a repo, with its types checked
    snapshot    a Hub repo at one commit: its artifact, and its files as they are needed
    offline     the same from huggingface_hub's cache alone, and whether what is there is right
    official    the official weights of the registry's models
    inventory   what is kept on this machine: listed, verified, removed
    package     what of an artifact goes up
    publish     that to a Hub repo
    listing     what a Hub repo has published
    card        the model card; card_metadata writes the part of it that the Hub reads

Only this package imports huggingface_hub.
"""

from .lookup import SHIPPED_DIR, cached_models, locate, require_own, shipped_models

__all__ = ["SHIPPED_DIR", "cached_models", "locate", "require_own", "shipped_models"]
