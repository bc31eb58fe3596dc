"""What runs on the device. ``edgekd.device.order`` sends these files as text, in the order of their imports."""

MODULES = ("wire", "programs", "versions", "probe", "main")
