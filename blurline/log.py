"""How the processes of the service log: one line a message, to standard error."""

import logging
import warnings

from blurline.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Log from the settings' level upwards; libraries only from warnings upwards."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Pillow warns of damage in pictures that it can read past.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("blurline").setLevel(settings.log_level.upper())
