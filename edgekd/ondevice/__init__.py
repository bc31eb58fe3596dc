"""Code that also runs on the device: needs only numpy and ONNX Runtime, and Pillow for image files.

These files are concatenated into a bundle's ``edgekd_run.py``, and edgekd itself decodes, checks and measures with
them, so that both sides agree to the last bit. They are Python 3.9 and import nothing of edgekd but each other.
"""
