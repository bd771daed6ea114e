"""Pools, deployments and runs that an earlier version left, or that somebody made meanwhile, are closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from helpers.deploying import registered
from helpers.stack import eventually, prefect_server

from flows.deploy.files import FOLDER, apply_files

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]  # two cores may be busy


def open_the_pool(client):
    """Give the pool the template of Prefect's own, as it was made until now."""
    from prefect.client.schemas.actions import WorkPoolUpdate
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    assert "command" in template["job_configuration"]
    client.update_work_pool("anoclust", WorkPoolUpdate(base_job_template=template))


def test_an_older_pool_and_its_waiting_runs_are_closed(stack, client, webhook):
    """A run waits with a command of its own, a deployment keeps one: neither is run once the files are applied."""
    from prefect.client.schemas.actions import DeploymentUpdate

    stack.stop_workers()
    try:
        open_the_pool(client)
        deployment = registered(client, stack, "older")
        marks = [stack.root / name for name in ("of-the-run", "of-the-deployment", "of-a-step", "of-env")]
        command = {"command": f"touch {marks[0]}", "env": {"PYTHONSTARTUP": str(marks[3])}, "working_dir": "/"}
        waiting = client.create_flow_run_from_deployment(deployment, job_variables=command).id
        shell = {"prefect.deployments.steps.run_shell_script": {"script": f"touch {marks[2]}"}}
        client.update_deployment(
            deployment,
            DeploymentUpdate(job_variables={"command": f"touch {marks[1]}"}, pull_steps=[shell]),
        )

        changed = apply_files(client, FOLDER, notify=webhook.url)
        assert changed == ["work pool anoclust: runs no longer choose their command, environment or folder"]
        assert apply_files(client, FOLDER, notify=webhook.url) == []
        assert registered(client, stack, "older") == deployment
        known = client.read_deployment(deployment)
        assert known.job_variables == {}
        (step,) = known.pull_steps
        assert list(step) == ["prefect.deployments.steps.set_working_directory"]
    finally:
        stack.start_worker()
    assert eventually(lambda: stack.run(waiting)["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}, seconds=120)
    assert stack.run(waiting)["state_name"] == "Completed"
    following = stack.create_run(deployment)
    assert eventually(lambda: stack.run(following)["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}, seconds=120)
    assert stack.run(following)["state_name"] == "Completed"
    assert [mark.name for mark in marks if mark.exists()] == []


def test_a_deployment_whose_flow_has_moved_is_registered_again(stack, client):
    """One that names a file of an earlier version is the same deployment afterwards, and its runs find the flow."""
    from prefect.client.schemas.actions import DeploymentUpdate

    deployment = registered(client, stack, "moved")
    described = client.read_deployment(deployment)
    client.update_deployment(deployment, DeploymentUpdate(entrypoint="flows.nightly.nightly"))
    assert client.read_deployment(deployment).entrypoint == "flows.nightly.nightly"
    assert registered(client, stack, "moved") == deployment
    again = client.read_deployment(deployment)
    assert (again.entrypoint, again.parameters) == (described.entrypoint, described.parameters)
    run = stack.create_run(deployment)
    assert eventually(lambda: stack.run(run)["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}, seconds=120)
    assert stack.run(run)["state_name"] == "Completed"


def test_an_older_notification_is_made_a_secret(stack, client, webhook):
    """The block that held an address in clear, of an earlier version, is the same block without it."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    older = CustomWebhookNotificationBlock(
        name="Anoclust", url=webhook.url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
    )
    identity = older.save("anoclust", overwrite=True, _sync=True)

    def shown():
        documents = stack.find("block_documents", block_documents={"name": {"any_": ["anoclust"]}})
        return json.dumps(documents)

    assert webhook.url in shown()
    assert apply_files(client, FOLDER, notify=webhook.url) == ["block custom-webhook/anoclust"]
    assert webhook.url not in shown()
    assert CustomWebhookNotificationBlock.load("anoclust", _sync=True)._block_document_id == identity
    other = webhook.url + "other"
    assert apply_files(client, FOLDER, notify=other) == ["block custom-webhook/anoclust"]
    assert apply_files(client, FOLDER, notify=webhook.url) == ["block custom-webhook/anoclust"]


def test_a_teams_server_with_a_secret_of_its_own(tmp_path):
    """Named by ``PREFECT_API_URL`` it is shown ``PREFECT_API_AUTH_STRING``, and never the secret of our own servers."""
    settings = {
        "PREFECT_SERVER_API_AUTH_STRING": "team:pass:with/@ signs",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "",
    }
    with prefect_server(tmp_path / "team", **settings) as team:
        server = {name for name in os.environ if name.startswith("PREFECT_SERVER")} | set(settings)
        own = {name: value for name, value in team.environment.items() if name not in server}
        own["PREFECT_HOME"] = str(tmp_path / "own")
        command = [sys.executable, "-m", "flows.cli", "deploy", "catch-up"]

        def ask(**more):
            return subprocess.run(
                command, env={**own, **more}, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
            )

        done = ask(PREFECT_API_AUTH_STRING=settings["PREFECT_SERVER_API_AUTH_STRING"])
        assert done.returncode == 0, done.stderr
        for wrong in ({}, {"PREFECT_API_AUTH_STRING": "team:wrong"}):
            refused = ask(**wrong)
            assert refused.returncode == 2
            assert "PREFECT_API_AUTH_STRING" in refused.stderr
            assert len(refused.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "own" / "anoclust" / "secret").exists()
