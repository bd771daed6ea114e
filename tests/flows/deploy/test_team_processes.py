"""What compose.yaml starts, run as processes: a server on PostgreSQL, Dask, a worker with a night on them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, flat_folder
from helpers.stack import end, eventually, free_port, prefect_server, start

from flows.deploy.files import FOLDER, read_file

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]  # two cores may be busy


def test_a_night_on_everything_that_compose_starts(tmp_path, checkpoint, new_postgresql_url):
    """Two databases, server, scheduler and worker of Dask, `apply`, Prefect's worker: a night completes on them."""
    import psycopg

    secret = tmp_path / "secret"
    secret.write_text("team:a-secret")
    passwords = {"DEPLOY_SECRET": secret.read_text(), "DEPLOY_DB_PASSWORD": "a-password"}
    services = read_file(FOLDER / "compose.yaml", passwords)["services"]
    asked = (
        "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS",
    )
    closed = {name: services["server"]["environment"][name] for name in asked}
    data = flat_folder(tmp_path / "data" / "bolt", range(12)).parent
    database, catalog = new_postgresql_url(), new_postgresql_url()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    asynchronous = database.replace("postgresql://", "postgresql+asyncpg://")
    with prefect_server(tmp_path, PREFECT_SERVER_DATABASE_CONNECTION_URL=asynchronous, **closed) as stack:
        stack.secret = secret
        stack.environment["PREFECT_API_AUTH_STRING"] = services["worker"]["environment"]["PREFECT_API_AUTH_STRING"]
        processes = []
        try:
            address = f"tcp://127.0.0.1:{free_port()}"
            scheduler = [*services["scheduler"]["command"]]
            scheduler[scheduler.index("--host") + 1] = "127.0.0.1"
            scheduler[scheduler.index("--port") + 1] = address.rpartition(":")[2]
            processes.append(start(scheduler, stack.environment, tmp_path / "dask.log"))
            worker = [address if part.startswith("tcp:") else part for part in services["dask"]["command"]]
            processes.append(start([*worker, "--host=127.0.0.1"], stack.environment, tmp_path / "dask.log"))

            stack.environment.update(
                ANOCLUST_PAIR__DASK=address,
                ANOCLUST_NIGHT__CATALOG=catalog,
                ANOCLUST_EMBED__BACKBONE=TINY_BACKBONE,
                ANOCLUST_EMBED__CHECKPOINT=str(checkpoint),
                ANOCLUST_EMBED__IMAGE_SIZE=str(TINY_SIDE),
                ANOCLUST_EMBED__DEVICE="cpu",
            )
            apply = ["deploy", "apply", "--data", str(data), "--store", str(tmp_path / "store")]
            for arguments in (apply, [*apply], ["deploy", "catch-up"]):
                done = subprocess.run(
                    [sys.executable, "-m", "flows.cli", *arguments],
                    env=stack.environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
                if arguments is apply:
                    assert "nightly/bolt" in done.stdout
                elif arguments[1] == "apply":
                    assert done.stdout == "nothing to change\n"
            stack.start_worker()
            night = stack.deployment("nightly/bolt")
            assert night["parameters"]["settings"] == {}  # variables, and the password in them, stay with the worker
            run = stack.create_run(night["id"])
            eventually(lambda: stack.run(run)["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}, seconds=200)
            assert stack.run(run)["state_name"] == "Completed", stack.run(run)["state"]
            with psycopg.connect(catalog) as connection:
                where = "SELECT table_schema FROM information_schema.tables WHERE table_name = 'images'"
                (schema,) = connection.execute(where).fetchone()  # of this store: several may share a database
                assert connection.execute(f'SELECT count(*) FROM "{schema}".images').fetchone() == (12,)
            assert address in (tmp_path / "dask.log").read_text()
        finally:
            stack.stop_workers()
            for process in reversed(processes):
                end(process)


def test_prefect_deploys_the_file_of_categories(stack, tmp_path):
    """`prefect deploy --all` with the variables registers what prefect.yaml says, and again the same."""
    variables = FOLDER / "variables.env"
    command = f"set -a; . {variables}; set +a; exec {sys.executable} -m prefect deploy --all --prefect-file {{}}"

    def deploy():
        done = subprocess.run(
            ["sh", "-c", command.format(FOLDER / "prefect.yaml")],
            env=stack.environment, cwd=FOLDER.parent, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return [stack.deployment(f"nightly/{name}") for name in ("brick", "grass", "gravel")]

    first = deploy()
    for night in first:
        assert night["parameters"] == {"data": "/data", "store": "/store", "categories": [night["name"]]}
        assert night["work_queue_name"] == "gpu"
        assert night["schedules"][0]["schedule"] == {"cron": "15 4 * * *", "timezone": "UTC", "day_or": True}
        assert night["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
        (step,) = night["pull_steps"]
        assert step["prefect.deployments.steps.set_working_directory"]["directory"] == "/store"
    assert stack.deployment("reap/dead-runs")["work_queue_name"] == "default"
    for night in first:  # the worker of these tests has no /store
        stack.delete_deployment(night["id"])
    stack.delete_deployment(stack.deployment("reap/dead-runs")["id"])
