"""The page that shows the API's description, and what of elsewhere it may load."""

import re
from base64 import b64encode
from hashlib import sha256

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

_ELSEWHERE = re.compile(rb'(?:src|href)="(https://[^/"]+)')


def install_docs(app: FastAPI) -> None:
    """Serve `/docs`. Its policy names its one script of its own by hash, so no other one runs.

    Swagger UI itself comes from where FastAPI's page takes it.
    """
    # Relative, so that it also fits behind a proxy that puts a folder before the routes.
    page = get_swagger_ui_html(openapi_url="openapi.json", title=f"{app.title}: the API")
    content = bytes(page.body)
    hashes = [
        f"'sha256-{b64encode(sha256(script).digest()).decode()}'"
        for script in re.findall(rb"<script>(.*?)</script>", content, re.DOTALL)
    ]
    hosts = " ".join(sorted({host.decode() for host in _ELSEWHERE.findall(content)}))
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {hosts} {' '.join(hashes)}",
            f"style-src {hosts} 'unsafe-inline'",  # Swagger UI sets styles from its script
            f"img-src 'self' data: {hosts}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(content, headers={"Content-Security-Policy": policy})
