"""The HTTP service, for who runs the checkout: `uvicorn api_server:app`.

It is `blurline.entry.api:app`, which is all that an installed blurline has of it.
"""

from blurline.entry.api import app

__all__ = ["app"]
