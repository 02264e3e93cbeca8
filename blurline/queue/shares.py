"""How many of the queue's places one caller may hold, where there are several.

Beside the queue Redis has a list for each caller of the jobs that it has queued, in their order. A
queue is worked off in its order as well, so those at the front of such a list that do not wait any
more are taken off it when somebody asks, and what is left are the places that the caller holds.

A caller may hold a share of the places that it and free ones make up. With a share of one half that
is as many as are free: half of all for one busy caller, a third each for two, and so on, and always
as many again for whoever comes next.
"""

from blurline.settings import Settings

HELD_SECONDS = 86400
"""For how long a list is kept after the last job on it; jobs do not wait for longer."""

# What a script of another module begins with. `mine` is a caller's list, empty without a caller;
# `shared` are the places that callers share, negative where they do not.
ROOM = """
local function room(queue, mine, places, shared, share, jobs)
    local waiting = redis.call('LLEN', queue)
    if places >= 0 and waiting >= places then return 'full' end
    if shared < 0 or mine == '' then return 'queued' end
    while true do
        local held = redis.call('LLEN', mine)
        if held == 0 or held * (1 - share) < share * (shared - waiting) then return 'queued' end
        local oldest = redis.call('LINDEX', mine, 0)
        if redis.call('HGET', jobs .. oldest, 'status') == 'queued' then return 'share' end
        redis.call('LPOP', mine)
    end
end
"""


class Shares:
    """Names and bounds for `ROOM`, of one queue."""

    def __init__(self, settings: Settings, queue: str) -> None:
        self.share = settings.max_queue_share
        self._place = f"blurline:places:{queue}:"

    def list_of(self, owner: str | None) -> str:
        """Name of the caller's list; empty for nobody."""
        return "" if owner is None else f"{self._place}{owner}"

    def bounds(self, shared: int | None) -> list[int | float]:
        """`shared` and `share` of `ROOM`; `shared` is None where callers do not share."""
        return [-1 if shared is None else shared, self.share]
