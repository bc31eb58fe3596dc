"""Code that runs on the device; ``edgekd.bundle.deploy.protocol`` sends these files, in the order of their imports."""

MODULES = ("wire", "programs", "versions", "probe", "main")
