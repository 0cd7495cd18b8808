"""The few licensed photos that ship with the package (`photos/README.md` lists their authors)."""

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
    """The bytes of the JPEG file of one of PHOTOS."""
    return resources.files(__package__).joinpath("photos").joinpath(name).read_bytes()
