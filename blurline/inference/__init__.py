"""Networks: engines that run them, and what turns pixels into their input and output into boxes.

What runs networks here tells nobody that it does.
"""

import os
import sys

# `import openvino` would import its converter, which nothing here uses, and the converter tells
# Google Analytics so each time. Without it OpenVINO works, silent and 0.15 s sooner.
sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]

# ONNX Runtime tells Microsoft of each process and session since 1.29. It has to be said before the
# library is loaded: https://github.com/microsoft/onnxruntime/pull/27379
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
