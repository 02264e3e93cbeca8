"""HEAD: what GET says of itself, without what it says."""

from fastapi import FastAPI
from fastapi.routing import APIRoute


def answer_heads(app: FastAPI) -> None:
    """Have each route that answers GET answer HEAD as well; the server leaves the body out.

    Each gets a route of its own, since one of two methods would be described as two operations of
    one name. Call it once all routes are there.
    """
    for route in [route for route in app.routes if isinstance(route, APIRoute)]:
        methods = route.methods or set()
        if "GET" in methods and "HEAD" not in methods:
            app.add_api_route(
                route.path,
                route.endpoint,
                methods=["HEAD"],
                response_class=route.response_class,
                include_in_schema=False,
            )
