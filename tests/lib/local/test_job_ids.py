"""A job id of the local BigQuery is taken by one job: while it runs, and afterwards."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from mlsys.local.job_ids import once


class Taken(Exception):
    pass


class Server:
    """Stands in for bqemulator: its jobs, and how often one was run."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Any] = {}
        self.ctx = SimpleNamespace(
            catalog=SimpleNamespace(get_job=lambda *key: self.known.get(key))
        )
        self.ran = 0
        self.may_end = asyncio.Event()

    async def handle(self, project_id: str, job_id: str, config: dict[str, Any], ctx: Any) -> str:
        self.ran += 1
        if config.get("bad"):
            raise ValueError("refused")
        await self.may_end.wait()
        return "done"

    async def insert(self, job_id: str, *, by_name: bool = False, **config: Any) -> str:
        ctx = {"ctx": self.ctx} if by_name else {}
        place = () if by_name else (self.ctx,)
        answer: str = await once(self.handle, Taken)("p", job_id, config, *place, **ctx)
        if not config.get("dryRun"):
            self.known["p", job_id] = answer
        return answer


@pytest.mark.parametrize("by_name", [False, True])
def test_a_job_runs_once_while_it_runs_and_afterwards(by_name: bool) -> None:
    async def case() -> None:
        server = Server()
        first = asyncio.create_task(server.insert("a", by_name=by_name))
        await asyncio.sleep(0)
        with pytest.raises(Taken, match="Already Exists: Job p:US.a"):
            await server.insert("a", by_name=by_name)
        server.may_end.set()
        assert await first == "done"
        with pytest.raises(Taken):
            await server.insert("a", by_name=by_name)
        assert await server.insert("b", by_name=by_name) == "done"
        assert server.ran == 2

    asyncio.run(case())


def test_a_refused_job_and_a_dry_run_take_no_id() -> None:
    async def case() -> None:
        server = Server()
        server.may_end.set()
        with pytest.raises(ValueError, match="refused"):
            await server.insert("a", bad=True)
        for _ in range(2):
            assert await server.insert("a", dryRun=True) == "done"
        assert await server.insert("a") == "done"

    asyncio.run(case())
