"""What the files of a bundle take."""

from dataclasses import dataclass
from typing import Any

from edgekd.ondevice.sizes import Size, sides


@dataclass(frozen=True)
class Input:
    """What the files take: shape ``(batch, height, width, channels)``.

    Args:
        resize: how an image file is brought to size: ``crop`` or ``stretch``.
        unit: the range of the numbers, which are float32; None: uint8 pixels.
    """

    image_size: Size
    channels: int
    resize: str
    unit: tuple[float, float] | None = None

    @property
    def takes_pictures(self) -> bool:
        """Can image files be brought to it? Else arrays are given."""
        return self.unit is None and self.channels in (1, 3)

    def fields(self) -> dict[str, Any]:
        """What the manifest says of it."""
        height, width = sides(self.image_size)
        return {
            "name": "pixels",
            "dtype": "uint8" if self.unit is None else "float32",
            "layout": "NHWC",
            "height": height,
            "width": width,
            "channels": self.channels,
            "resize": self.resize,
            **({} if self.unit is None else {"range": [*self.unit]}),
        }
