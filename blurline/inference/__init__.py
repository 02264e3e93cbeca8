"""Networks: engines that run them, and what turns pixels into their input and output into boxes."""

import sys

# `import openvino` would import its converter, which nothing here uses, and the converter tells
# Google Analytics so each time. Without it OpenVINO works, silent and 0.15 s sooner.
sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
