"""The page that shows the API's description. All that it loads comes from this service.

Callers type their keys into it, so no script of elsewhere has a place in it.
"""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

SCRIPT, STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
"""Swagger UI, as the package fastapi-offline brings it."""


def install_docs(app: FastAPI) -> None:
    """Serve `/docs`. Its policy names its one script of its own by hash, so no other one runs."""
    # Relative, so that it also fits behind a proxy that puts a folder before the routes.
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=f"{app.title}: the API",
        swagger_js_url=f"docs/{SCRIPT}",
        swagger_css_url=f"docs/{STYLE}",
        swagger_favicon_url="data:,",
    )
    content = bytes(page.body)
    hashes = [
        f"'sha256-{b64encode(sha256(script).digest()).decode()}'"
        for script in re.findall(rb"<script>(.*?)</script>", content, re.DOTALL)
    ]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' {' '.join(hashes)}",
            "style-src 'self' 'unsafe-inline'",  # Swagger UI sets styles from its script
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    folder = Path(str(files("fastapi_offline"))) / "static"

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(content, headers={"Content-Security-Policy": policy})

    @app.get(f"/docs/{SCRIPT}", include_in_schema=False)
    def script() -> FileResponse:
        return FileResponse(folder / SCRIPT)

    @app.get(f"/docs/{STYLE}", include_in_schema=False)
    def style() -> FileResponse:
        return FileResponse(folder / STYLE)
