"""Settings of rq-dashboard, by which it shows busy workers of this service too.

    rq-dashboard --json --extra-path deploy --config rqdashboard --redis-url redis://…

Messages are JSON here. rq-dashboard 0.9 reads jobs so with `--json`, but not those that workers
have in hand: its list of workers is then an error.
"""

from typing import Any

from rq import Worker
from rq.serializers import JSONSerializer
from rq_dashboard import web


class JsonWorker(Worker):
    """A worker whose current job is read as JSON."""

    @classmethod
    def all(cls, *args: Any, **named: Any) -> list[Any]:
        """All workers."""
        return super().all(*args, **{"serializer": JSONSerializer, **named})


web.Worker = JsonWorker
