"""What runs where the model runs: needs numpy and ONNX Runtime alone, and Pillow for image files.

These files are put together as ``edgekd_run.py`` of a bundle, and are what edgekd itself decodes, checks and measures
with: both sides do the same to the last bit. They keep to Python 3.9 and import nothing of edgekd but each other.
"""
