"""edgekd's files beside those of other tools, from the same network and the same calibration images."""
