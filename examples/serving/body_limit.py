"""ASGI middleware that refuses large bodies before anybody reads them."""

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


class BodyLimit:
    """413 for a body of more than `max_bytes`, 411 for one of which the length is not said."""

    def __init__(self, app, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http" and scope["method"] not in WITHOUT_BODY:
            length = Headers(scope=scope).get("content-length")
            if length is None:
                return await _refuse(411, "send a Content-Length", scope, receive, send)
            if int(length) > self.max_bytes:
                message = f"the body has {length} bytes; at most {self.max_bytes} are taken: send fewer items at a time"
                return await _refuse(413, message, scope, receive, send)
        return await self.app(scope, receive, send)


async def _refuse(status: int, message: str, scope, receive, send) -> None:
    await PlainTextResponse(message, status, {"connection": "close"})(scope, receive, send)
