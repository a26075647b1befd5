#!/usr/bin/env python3
"""Stands in for rpicam-vid: its options, padded rows, metadata and error texts, with the golden picture."""

import argparse
import os
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--list-cameras", action="store_true")
for name in ("-t", "--camera", "--width", "--height", "--framerate", "--codec", "--buffer-count"):
    parser.add_argument(name)
parser.add_argument("-n", action="store_true")
parser.add_argument("--flush", action="store_true")
parser.add_argument("--hflip", action="store_true")
parser.add_argument("--metadata")
parser.add_argument("--metadata-format")
parser.add_argument("-o", dest="output")
wanted = parser.parse_args()
mode = os.environ.get("FAKE_RPICAM", "")

if wanted.list_cameras:
    if mode == "none":
        sys.stdout.write("No cameras available!\n")
    else:
        sys.stdout.write(
            "Available cameras\n-----------------\n0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/i2c0mux)\n"
        )
        sys.stdout.write("    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]\n")
    sys.exit(0)
assert wanted.codec == "yuv420", wanted
assert wanted.t == "0", wanted
assert wanted.output == "-", wanted
assert wanted.metadata_format == "txt", wanted
sys.stderr.write("[0:12:34.5] [1234] INFO Camera camera_manager.cpp:284 libcamera v0.3.2" + "\n")
errors = {
    "none": "ERROR: *** no cameras available ***",
    "busy": "ERROR: *** failed to acquire camera /base/soc/i2c0mux/i2c@1/imx708@1a ***",
    "memory": "ERROR: *** failed to allocate capture buffers ***",
    "other": "ERROR: *** something new ***",
}
if mode == "timeout":
    try:  # it starts once, and then there is no camera any more
        open(os.environ["FAKE_RPICAM_STARTED"], "x").close()
    except FileExistsError:
        mode = "none"
if mode in errors:
    sys.stderr.write(errors[mode] + "\n")
    sys.exit(255)
with open(os.environ["FAKE_RPICAM_FRAME"], "rb") as file:
    frame = file.read()
about = open(wanted.metadata, "w")  # noqa: SIM115
for _ in range(int(os.environ.get("FAKE_RPICAM_FRAMES", "1000000"))):
    exposed = time.monotonic_ns() - 20_000_000
    sys.stdout.buffer.write(frame)
    sys.stdout.buffer.flush()
    about.write(f"ExposureTime=9999\nSensorTimestamp={exposed}\n\n")
    about.flush()
    time.sleep(1 / int(wanted.framerate))
if mode == "timeout":
    sys.stderr.write("ERROR: Device timeout detected, attempting a restart!!!" + "\n")
    sys.exit(1)
