"""A small Cloud Run for jobs: RunJob and executions over gRPC, with processes as the tasks.

Each task is a process with Cloud Run's variables; one that exits with another code than 0 is
started again, `max_retries` times. The tasks of an execution that is cancelled get SIGTERM, and
are not started again. Executions live in memory and end with the process. Every other
method of the Cloud Run API answers UNIMPLEMENTED.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlsys.cloud.loopback import without_proxies
from mlsys.local.addresses import HOST
from mlsys.local.executions import Execution, Task, message_of
from mlsys.local.guard import GRACE

PACKAGE = "google.cloud.run.v2"
MAX_RETRIES = 3  # of a task: Cloud Run's default

log = logging.getLogger(__name__)


class Jobs:
    """Jobs by their names, in any region; their executions, and a gRPC server for clients."""

    def __init__(self, *, port: int = 0, max_retries: int = MAX_RETRIES) -> None:
        self.executions: dict[str, Execution] = {}
        # Faults for tests: status code and message, of RunJob and of GetExecution.
        self.refusal: tuple[str, str] | None = None
        self.lookup_refusal: tuple[str, str] | None = None
        self.duplicate = 0  # a fault for tests: this many more executions of each request
        self._port = port
        self._max_retries = max_retries
        self._jobs: dict[str, tuple[list[str], Callable[[], Mapping[str, str]], Path, Path]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._server: Any = None

    @property
    def address(self) -> str:
        """The address for clients, `host:port`."""
        return f"{HOST}:{self._port}"

    def create_job(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Callable[[], Mapping[str, str]],
        folder: Path,
        log_file: Path,
    ) -> None:
        """Create a job whose tasks execute `command` and the arguments of the execution.

        `environment` is called for each task, `folder` is its working folder.
        """
        self._jobs[name] = ([*command], environment, folder, log_file)

    def run(self, job: str, arguments: Sequence[str], tasks: int) -> Execution:
        """Start an execution of the job and return it.

        Raises:
            LookupError: the job does not exist.
        """
        if job.rpartition("/")[2] not in self._jobs:
            raise LookupError(f"Resource '{job}' was not found")
        name = f"{job}/executions/{job.rpartition('/')[2]}-{next(self._numbers):05d}"
        execution = Execution(name, tuple(arguments), [Task(n) for n in range(tasks)])
        self.executions[name] = execution
        for task in execution.tasks:
            thread = threading.Thread(target=self._work, args=(job, execution, task), daemon=True)
            self._threads.append(thread)
            thread.start()
        return execution

    def kill(self, execution: Execution, index: int) -> bool:
        """End a task's process at once, with its children; return whether it ran."""
        process = execution.tasks[index].process
        if process is None or process.poll() is not None:
            return False
        os.killpg(process.pid, signal.SIGKILL)
        return True

    def cancel(self, execution: Execution) -> None:
        """End the tasks' processes with SIGTERM, and start none again."""
        with self._lock:
            execution.cancelled.set()
            for task in execution.tasks:
                if not task.ended and task.process is not None and task.process.poll() is None:
                    task.process.terminate()  # the guard passes it on

    def start(self) -> None:
        """Accept requests over gRPC at `address` from now on.

        Raises:
            RuntimeError: the port is taken.
        """
        import grpc
        from google.cloud import run_v2
        from google.iam.v1.iam_policy_pb2 import (  # type: ignore[import-untyped]
            TestIamPermissionsRequest,
            TestIamPermissionsResponse,
        )
        from google.longrunning.operations_pb2 import Operation

        def run_job(request: Any, context: Any) -> Any:
            if self.refusal is not None:
                code, message = self.refusal
                context.abort(grpc.StatusCode[code], message)
            overrides = request.overrides
            arguments = [a for c in overrides.container_overrides for a in c.args]
            try:
                execution = self.run(request.name, arguments, overrides.task_count or 1)
                for _ in range(self.duplicate):
                    self.run(request.name, arguments, overrides.task_count or 1)
            except LookupError as exc:
                context.abort(grpc.StatusCode.NOT_FOUND, str(exc.args[0]))
            operation = Operation(name=f"{execution.name}/operation")
            operation.metadata.Pack(run_v2.Execution.pb(message_of(execution)))
            return operation

        def get_execution(request: Any, context: Any) -> Any:
            if self.lookup_refusal is not None:
                code, message = self.lookup_refusal
                context.abort(grpc.StatusCode[code], message)
            if request.name not in self.executions:
                text = f"Resource '{request.name}' was not found"
                context.abort(grpc.StatusCode.NOT_FOUND, text)
            return message_of(self.executions[request.name])

        def cancel_execution(request: Any, context: Any) -> Any:
            if request.name not in self.executions:
                text = f"Resource '{request.name}' was not found"
                context.abort(grpc.StatusCode.NOT_FOUND, text)
            execution = self.executions[request.name]
            if execution.completed is not None:
                text = f"Execution '{request.name}' has completed"
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
            self.cancel(execution)
            operation = Operation(name=f"{execution.name}/cancellation")
            operation.metadata.Pack(run_v2.Execution.pb(message_of(execution)))
            return operation

        def get_job(request: Any, context: Any) -> Any:
            if request.name.rpartition("/")[2] not in self._jobs:
                text = f"Resource '{request.name}' was not found"
                context.abort(grpc.StatusCode.NOT_FOUND, text)
            return run_v2.Job(name=request.name)

        def grant(request: Any, context: Any) -> Any:
            return TestIamPermissionsResponse(permissions=request.permissions)  # all of them

        def list_executions(request: Any, context: Any) -> Any:
            of_job = [e for e in self.executions.values() if e.name.startswith(request.parent)]
            return run_v2.ListExecutionsResponse(executions=[message_of(e) for e in of_job])

        def handler(call: Any, takes: Any, serialize: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(
                call, request_deserializer=takes.deserialize, response_serializer=serialize
            )

        jobs = {
            "RunJob": handler(run_job, run_v2.RunJobRequest, Operation.SerializeToString),
            "GetJob": handler(get_job, run_v2.GetJobRequest, run_v2.Job.serialize),
            "TestIamPermissions": grpc.unary_unary_rpc_method_handler(
                grant,
                request_deserializer=TestIamPermissionsRequest.FromString,
                response_serializer=TestIamPermissionsResponse.SerializeToString,
            ),
        }
        executions = {
            "GetExecution": handler(
                get_execution, run_v2.GetExecutionRequest, run_v2.Execution.serialize
            ),
            "CancelExecution": handler(
                cancel_execution, run_v2.CancelExecutionRequest, Operation.SerializeToString
            ),
            "ListExecutions": handler(
                list_executions,
                run_v2.ListExecutionsRequest,
                run_v2.ListExecutionsResponse.serialize,
            ),
        }
        self._server = grpc.server(
            ThreadPoolExecutor(8, "jobs"), options=[("grpc.so_reuseport", 0)]
        )
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(f"{PACKAGE}.Jobs", jobs),
                grpc.method_handlers_generic_handler(f"{PACKAGE}.Executions", executions),
            ]
        )
        self._port = self._server.add_insecure_port(f"{HOST}:{self._port}")
        self._server.start()

    def stop(self) -> None:
        """Accept no more requests, and end the tasks."""
        with self._lock:
            self._stopping = True
        if self._server is not None:
            self._server.stop(grace=0.5).wait(5)
        for execution in list(self.executions.values()):
            for task in execution.tasks:
                if task.process is not None and task.process.stdin is not None:
                    task.process.stdin.close()  # the guard ends the task
        for thread in self._threads:
            thread.join(GRACE + 5)

    def _work(self, job: str, execution: Execution, task: Task) -> None:
        """Start a task until it ends well, or has no try left."""
        for attempt in range(1 + self._max_retries):
            with self._lock:
                if self._stopping:
                    return
                if execution.cancelled.is_set():
                    task.cancelled = True
                    break
                task.process = self._process(job, execution, task, attempt)
            with task.process:  # which closes its pipe
                code = task.process.wait()
            task.codes.append(code)
            if execution.cancelled.is_set():  # Cloud Run counts it as cancelled, however it ends
                task.cancelled = True
            if code == 0 or task.cancelled:
                break
            log.warning("Task %s of %s ended with %s", task.index, execution.name, code)
        with self._lock:
            task.ended = True
            if all(other.ended for other in execution.tasks):
                execution.completed = datetime.now(UTC)

    def _process(
        self, job: str, execution: Execution, task: Task, attempt: int
    ) -> subprocess.Popen[bytes]:
        command, environment, folder, log_file = self._jobs[job.rpartition("/")[2]]
        own = {
            "CLOUD_RUN_JOB": job.rpartition("/")[2],
            "CLOUD_RUN_EXECUTION": execution.name.rpartition("/")[2],
            "CLOUD_RUN_TASK_INDEX": str(task.index),
            "CLOUD_RUN_TASK_COUNT": str(len(execution.tasks)),
            "CLOUD_RUN_TASK_ATTEMPT": str(attempt),
        }
        with log_file.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "mlsys.local.guard", "--", *command, *execution.arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **without_proxies(os.environ), **environment(), **own},
                cwd=folder,
                start_new_session=True,
            )
