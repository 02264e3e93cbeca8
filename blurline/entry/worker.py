"""A worker: `python -m blurline.entry.worker`.

It loads the networks once and takes jobs until SIGTERM or SIGINT, upon which it finishes the jobs
that are running and leaves. Start as many as the queue needs.
"""

from blurline import tracing
from blurline.errors import BlurlineError
from blurline.log import configure_logging
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from blurline.worker.service import run_worker


def main() -> None:
    """Run one worker process."""
    try:
        settings = load_settings()
        configure_logging(settings)
        tracing.start(settings, "blurline-worker")
        run_worker(settings, pipelines(settings))
        tracing.stop()
    except BlurlineError as error:
        raise SystemExit(f"blurline: {error}") from error


if __name__ == "__main__":
    main()
