"""What runs on the device. ``edgekd.bundle.deploy.order`` sends these files as text, in the order of their imports."""

MODULES = ("wire", "programs", "versions", "probe", "main")
