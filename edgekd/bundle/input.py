"""What the files of a bundle take."""

from dataclasses import dataclass
from typing import Any

from edgekd.ondevice.sizes import Size, sides


@dataclass(frozen=True)
class Input:
    """The pixels that the files take: shape ``(batch, height, width, channels)``, uint8.

    Args:
        resize: how an image file is brought to size: ``crop`` or ``stretch``.
    """

    image_size: Size
    channels: int
    resize: str

    def fields(self) -> dict[str, Any]:
        """What the manifest says of it."""
        height, width = sides(self.image_size)
        return {
            "name": "pixels",
            "dtype": "uint8",
            "layout": "NHWC",
            "height": height,
            "width": width,
            "channels": self.channels,
            "resize": self.resize,
        }
