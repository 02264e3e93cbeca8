"""Everything that can go wrong, in the words that callers see.

Each error has a `code`, which programs read, and a message, which people read. Neither ever
holds picture content, so both may be logged, stored and answered. Whether an error is worth
another try is decided by its class: `TemporaryError` passes by itself, all others do not.
"""


class BlurlineError(Exception):
    """Base of all errors that this package raises on purpose."""

    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class SettingsError(BlurlineError):
    """A setting is unknown, malformed or contradicts another one."""

    code = "bad_setting"


class PictureError(BlurlineError):
    """The bytes are no picture that can be treated: `not_an_image`, `unsupported_kind`,
    `animation`, `too_many_bytes`, `too_many_pixels` or `corrupt_image`."""

    code = "not_an_image"


class OptionError(BlurlineError):
    """The caller asked for something that does not exist: `bad_option`."""

    code = "bad_option"


class IdempotencyMismatchError(OptionError):
    """A key that was to mark one request came with another one."""

    code = "idempotency_mismatch"


class ModelMissingError(OptionError):
    """The caller asked for a target whose network is missing; it is never just left out."""

    code = "model_missing"


class ModelError(BlurlineError):
    """A network's file can't be fetched, is not the one that the catalogue names, or won't load."""

    code = "bad_model"


class OriginalMissingError(BlurlineError):
    """A job's original is not in the store any more."""

    code = "original_missing"


class LeakSuspectedError(BlurlineError):
    """The picture as it was written still shows what it should not; it is not published."""

    code = "leak_suspected"


class TooManyRegionsError(BlurlineError):
    """A picture shows more things to redact than are told apart in bounded time and memory."""

    code = "too_many_regions"


class TemporaryError(BlurlineError):
    """Passes by itself: the same call may succeed later."""

    code = "unavailable"


class QueueUnavailableError(TemporaryError):
    """Redis does not answer."""

    code = "queue_unavailable"


class StoreUnavailableError(TemporaryError):
    """The object store does not answer, or refuses for a reason that is not the caller's."""

    code = "store_unavailable"


class AccessUnavailableError(TemporaryError):
    """Who calls can't be told, since the keys can't be had that would say so."""

    code = "access_unavailable"


class TooManyError(TemporaryError):
    """There is too much of something at the moment. `retry_after` is in whole seconds."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFullError(TooManyError):
    """The queue holds as many jobs as it may."""

    code = "queue_full"


class RateLimitedError(TooManyError):
    """The caller has sent more requests than it may."""

    code = "rate_limited"


class UnauthorizedError(BlurlineError):
    """The caller is not known: `invalid` if it sent a key or token, but not a good one."""

    code = "unauthorized"

    def __init__(self, message: str, *, invalid: bool = False) -> None:
        super().__init__(message)
        self.invalid = invalid


class ForbiddenError(BlurlineError):
    """The caller may not do this."""

    code = "forbidden"
