"""The few licensed photos that ship with the package (`photos/README.md` says whose they are)."""

from __future__ import annotations

from importlib import resources

PHOTOS = (
    "astronaut.jpg",
    "brick.jpg",
    "camera.jpg",
    "chelsea.jpg",
    "coffee.jpg",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "rocket.jpg",
)


def photo(name: str) -> bytes:
    """One of PHOTOS as the JPEG file that it is."""
    return resources.files(__package__).joinpath("photos").joinpath(name).read_bytes()
