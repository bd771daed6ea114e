"""Deployments on a real server with a real worker: schedules, limits, events, messages, dead and late runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from helpers.deploying import registered
from helpers.stack import eventually, seconds_of
from prefect.states import Scheduled

from flows.deploy import dead_runs
from flows.deploy.deployments import EMBEDDING_QUEUE, SCHEDULED_TAG, cancel_late, nightly_deployment, register
from flows.deploy.files import FOLDER, apply_files
from flows.deploy.secrets import forget_passwords

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]  # two cores may be busy


def trigger(client, deployment, n=1, **settings):
    """Ask for runs of a deployment; gives their identifiers."""
    return [client.create_flow_run_from_deployment(deployment, **settings).id for _ in range(n)]


def done(stack, deployment, n, *, seconds=90):
    """Wait until that many runs have ended; gives the names of their states."""
    last = {"COMPLETED", "CANCELLED", "CRASHED", "FAILED"}

    def look():
        runs = stack.runs(deployment)
        return len(runs) >= n and all(run["state_type"] in last for run in runs[:n])

    eventually(look, seconds=seconds)
    return stack.states(deployment)


def test_a_deployment_runs_by_its_schedule(stack, client):
    """A run that nobody asked for appears, is started by the worker, and completes."""
    deployment = client.read_deployment_by_name("standin/minutely")

    def completed():
        return [run for run in stack.runs(deployment.id) if run["state_type"] == "COMPLETED"]

    run = eventually(completed, seconds=120)[0]
    assert run["auto_scheduled"]
    assert SCHEDULED_TAG in run["tags"]
    assert run["name"] == "stand-in minutely"
    waited = datetime.fromisoformat(run["start_time"]) - datetime.fromisoformat(run["expected_start_time"])
    assert timedelta(0) <= waited < timedelta(minutes=1)  # when the next one is due


def test_events_and_artifacts_reach_the_server_and_the_webhook(stack, client, webhook):
    """A new cluster is an event of its category, and an automation of the repository sends it on."""
    (run,) = trigger(client, registered(client, stack, "screw"))
    resource = {"resource": {"id": ["anoclust.category.screw"]}}
    events = eventually(lambda: stack.find("events", filter=resource))
    assert [event["event"] for event in events] == ["anoclust.cluster.new"]
    assert events[0]["payload"] == {"cluster": "c7", "images": 4}
    assert any(f"prefect.flow-run.{run}" in related.values() for related in events[0]["related"])
    assert any(artifact["data"] == "screw is done" for artifact in stack.find("artifacts"))
    sent = eventually(lambda: [heard for heard in webhook.heard if "screw" in heard["subject"]])
    assert sent[0]["subject"] == "New kind of anomaly in screw"
    assert '"c7"' in sent[0]["body"]


def test_one_run_of_a_category_at_a_time(stack, client):
    """Of three runs at once one works; the other two are cancelled: the first one takes up everything there is."""
    deployment = registered(client, stack, "bottle", seconds=6)
    trigger(client, deployment, 3)
    assert done(stack, deployment, 3) == ["Cancelled", "Cancelled", "Completed"]


def test_one_embedding_run_at_a_time(stack, client):
    """Three categories at once are worked on one after the other: the queue of the GPU holds one run."""
    deployments = [
        registered(client, stack, category, seconds=1, queue=EMBEDDING_QUEUE)
        for category in ("cable", "zipper", "tile")
    ]
    for deployment in deployments:
        trigger(client, deployment)
    assert [done(stack, deployment, 1, seconds=120) for deployment in deployments] == [["Completed"]] * 3
    times = sorted(seconds_of(stack.runs(deployment)[0]) for deployment in deployments)
    assert times[0][1] <= times[1][0]
    assert times[1][1] <= times[2][0]


@pytest.fixture
def hasty(monkeypatch):
    """Doubt a run soon after its start."""
    monkeypatch.setattr(dead_runs, "JUST_STARTED_SECONDS", 3)


def test_a_run_that_died_with_its_worker_is_found_and_the_next_one_works(stack, client, webhook, hasty):
    """``kill -9`` of worker and run leaves a run that is Running; the reaper marks it, and the category goes on."""
    deployment = registered(client, stack, "capsule", seconds=60)
    (dead,) = trigger(client, deployment)

    def inside():
        runs = stack.find("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [str(dead)]}})
        tasks = stack.find("task_runs", flow_runs={"id": {"any_": [run["id"] for run in runs]}}) if runs else []
        return bool(tasks) and tasks[0]["state_type"] == "RUNNING" and bool(stack.run(dead)["infrastructure_pid"])

    assert eventually(inside)
    stack.stop_workers(kill=True)
    try:
        assert stack.run(dead)["state_name"] == "Running"
        reaped = eventually(lambda: dead_runs.mark_dead(client), seconds=20, every=1)
        assert any(line.startswith("stand-in capsule: process ") for line in reaped)
        assert stack.run(dead)["state_name"] == "Crashed"
        assert "is gone" in stack.run(dead)["state"]["message"]
        (child,) = stack.find("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [str(dead)]}})
        assert child["state_name"] == "Crashed"
        tasks = stack.find("task_runs", flow_runs={"id": {"any_": [str(dead), child["id"]]}})
        assert {task["state_name"] for task in tasks} == {"Crashed"}
        assert dead_runs.mark_dead(client) == []
        assert eventually(lambda: [heard for heard in webhook.heard if heard["subject"] == "stand-in capsule: Crashed"])
    finally:
        stack.start_worker()
    (following,) = trigger(client, deployment, parameters={"seconds": 0.0})
    eventually(lambda: stack.run(following)["state_type"] in {"COMPLETED", "CANCELLED"}, seconds=60)
    assert stack.run(following)["state_name"] == "Completed"


def test_runs_that_live_are_not_marked(stack, client, hasty):
    """The look-out leaves a run alone whose process works."""
    deployment = registered(client, stack, "pill", seconds=dead_runs.JUST_STARTED_SECONDS + 5)
    (run,) = trigger(client, deployment)
    eventually(lambda: stack.run(run)["state_name"] == "Running")

    def long_enough():
        state = stack.run(run)["state"]
        age = datetime.now(UTC) - datetime.fromisoformat(state["timestamp"])
        return age > timedelta(seconds=dead_runs.JUST_STARTED_SECONDS)

    eventually(long_enough)
    assert stack.run(run)["state_name"] == "Running"
    assert dead_runs.mark_dead(client) == []
    assert done(stack, deployment, 1) == ["Completed"]


def test_late_runs_collapse_to_the_newest(stack, client):
    """Of the nights that nobody worked on one is kept, the newest; a run that a person asked for stays."""
    from prefect.states import Scheduled

    stack.stop_workers()
    try:
        deployment = registered(client, stack, "leather")
        now = datetime.now(UTC)
        nights = [
            trigger(
                client,
                deployment,
                tags=[SCHEDULED_TAG],
                state=Scheduled(scheduled_time=now - timedelta(days=days)),
            )[0]
            for days in (3, 1, 2)
        ]
        (asked_for,) = trigger(client, deployment, state=Scheduled(scheduled_time=now - timedelta(days=4)))
        assert len(cancel_late(client)) >= 2  # the schedule of another test may have been late too
        states = [stack.run(night)["state_type"] for night in nights]
        assert states == ["CANCELLED", "SCHEDULED", "CANCELLED"]
        assert stack.run(asked_for)["state_type"] == "SCHEDULED"
        assert [name for name in cancel_late(client) if name in {stack.run(night)["name"] for night in nights}] == []
    finally:
        stack.start_worker()
    eventually(lambda: stack.run(nights[1])["state_type"] in {"COMPLETED", "CANCELLED"})


def test_the_files_applied_again_change_nothing(stack, client, webhook):
    """The same files twice leave pools, queues, limits, automations and blocks as they are, to the second."""

    def everything():
        kinds = ("automations", "work_pools", "block_documents", "v2/concurrency_limits")
        changes = {kind: sorted((row["id"], row["updated"]) for row in stack.find(kind)) for kind in kinds[:1]}
        pool = client.read_work_pool("anoclust")
        queues = [client.read_work_queue_by_name(name, "anoclust") for name in ("default", "gpu")]
        return (
            changes,
            pool.concurrency_limit,
            [(queue.id, queue.concurrency_limit, queue.priority) for queue in queues],
            sorted((row["id"], row["updated"]) for row in stack.find("block_documents")),
        )

    before = everything()
    assert len(before[0]["automations"]) >= 5
    assert apply_files(client, FOLDER, notify=webhook.url) == []
    assert everything() == before


def test_a_deployment_that_is_known_is_left_alone(stack, client):
    """Registered again a deployment keeps its schedule, switched off in the UI as it may be; changed, it is updated."""
    identity = registered(client, stack, "hazelnut")
    schedule = client.read_deployment(identity).schedules[0]
    client.update_deployment_schedule(identity, schedule.id, active=False)
    assert registered(client, stack, "hazelnut") == identity
    known = client.read_deployment(identity).schedules
    assert [(one.id, one.active) for one in known] == [(schedule.id, False)]
    assert registered(client, stack, "hazelnut", seconds=1.0) == identity
    assert client.read_deployment(identity).parameters["seconds"] == 1.0


def test_a_block_of_ones_own_is_taken(stack, client, webhook, tmp_path):
    """A notification block that was made in the UI is named as KIND/NAME; one that is not there is told."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    from anoclust_core.errors import ConfigError

    CustomWebhookNotificationBlock(name="quality", url=webhook.url).save("quality", overwrite=True, _sync=True)
    (tmp_path / "limits.yaml").write_text("work_pools: []\n")
    (tmp_path / "automations.yaml").write_text(
        "automations:\n- name: own\n"
        "  trigger: {type: event, posture: Reactive, expect: [a.b], threshold: 1, within: 0}\n"
        "  actions: [{type: send-notification, subject: S, body: B}]\n"
    )
    assert apply_files(client, tmp_path) == []  # nobody to send to
    assert apply_files(client, tmp_path, notify="custom-webhook/quality") == ["automation own"]
    with pytest.raises(ConfigError, match="custom-webhook/nobody"):
        apply_files(client, tmp_path, notify="custom-webhook/nobody")


def test_passwords_that_an_earlier_version_kept_are_taken_out(client, folder):
    """Deployments and their runs had the catalog's whole URL; applied again they show it without the password."""
    url = "postgresql://me:Zq7Zq7@host/x"
    old = nightly_deployment(
        "old",
        name="old",
        data=folder,
        store=folder,
        settings={"night.catalog": url, "seed": 3},
        cron="0 4 1 1 *",
        timezone="UTC",
    )
    register(client, [old], folder=folder)
    known = client.read_deployment_by_name(old.full_name)
    later = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=30))
    run = client.create_flow_run_from_deployment(known.id, state=later)
    assert run.parameters["settings"]["night.catalog"] == url

    changed = forget_passwords(client)

    assert any(line.startswith("nightly/old") for line in changed)
    shown = {"night.catalog": "postgresql://me:***@host/x", "seed": 3}
    assert client.read_deployment_by_name(old.full_name).parameters["settings"] == shown
    assert client.read_flow_run(run.id).parameters["settings"] == shown
    assert forget_passwords(client) == []
