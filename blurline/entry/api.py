"""The HTTP service: `uvicorn blurline.entry.api:app`.

Without settings it looks for Redis on this machine and keeps pictures in a local folder.
"""

import resource

from blurline import tracing
from blurline.api.app import create_app
from blurline.errors import SettingsError
from blurline.log import configure_logging
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings

# A crash must not leave pictures in a core file.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

try:
    settings = load_settings()
    configure_logging(settings)
    tracing.start(settings, "blurline-api")
    app = create_app(settings, pipelines(settings))
except SettingsError as error:
    raise SystemExit(f"blurline: {error}") from error
