"""What looks after queues and store: `python -m blurline.entry.upkeep`.

It takes no job and loads no network; see `blurline.worker.upkeep`. SIGTERM or SIGINT end it.
"""

from blurline import tracing
from blurline.errors import BlurlineError
from blurline.log import configure_logging
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from blurline.worker.upkeep import run_upkeep


def main() -> None:
    """Run the process."""
    try:
        settings = load_settings()
        configure_logging(settings)
        tracing.start(settings, "blurline-upkeep")
        run_upkeep(settings, pipelines(settings))
        tracing.stop()
    except BlurlineError as error:
        raise SystemExit(f"blurline: {error}") from error


if __name__ == "__main__":
    main()
