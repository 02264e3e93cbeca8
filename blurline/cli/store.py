"""The store of a service that has run."""

from blurline.errors import OptionError
from blurline.settings import Settings
from blurline.storage.objects import open_store
from blurline.storage.store import Store


def store_of(settings: Settings) -> Store:
    """The store of the settings.

    Raises:
        OptionError: it would be in a folder that is not there, and is not made: it was mistyped.
        SettingsError: it can't be reached for lack of a usable setting.
    """
    local = not (settings.s3_bucket or settings.store_url)
    if local and not (settings.data_dir / "store").is_dir():
        raise OptionError(f"{settings.data_dir} is no data folder of a service")
    return open_store(settings)
