"""Google's own gcloud, where one is installed, pointed at a server by what it can be told.

Endpoint overrides lead its commands here, and a key file, a workload's configuration or a login
configuration signs it in (gar.md §6.1, §6.2). Who else it asks for anything is seen.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from clients.shelves import PROJECT, USER
from clients.stages import (
    GOOGLES_HOST,
    LOCATION,
    Stage,
    Theatre,
    key_file,
    new_person,
    workload,
)
from support.tools import ROOT, Desk, tool
from support.wheels import make_wheel

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(
        shutil.which("gcloud", path="/usr/bin:/bin") is None,
        reason="needs Google's gcloud in /usr/bin, and there is none",
    ),
]
PAGE = "import sys, requests; print(requests.get(sys.argv[1], auth=('x', sys.argv[2])).status_code)"
# The plugin's way for where there are no Application Default Credentials.
FALL_BACK = "from keyrings import gauth; print(gauth.get_gcloud_credential())"


@pytest.fixture(name="stage")
def _stage(theatre: Theatre, desk: Desk) -> Stage:
    """Return a desk with what an administrator tells gcloud once; nothing of it is a secret."""
    url = f"https://{GOOGLES_HOST}/"
    return theatre.set_stage(
        GOOGLES_HOST,
        desk,
        CLOUDSDK_API_ENDPOINT_OVERRIDES_ARTIFACTREGISTRY=url,
        CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER=url,
        CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM=url,
        CLOUDSDK_ARTIFACTS_LOCATION=LOCATION,
        CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK="1",
        CLOUDSDK_CORE_CHECK_GCE_METADATA="0",
        CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE=str(theatre.front.certificates),
        CLOUDSDK_CORE_DISABLE_PROMPTS="1",
        CLOUDSDK_CORE_DISABLE_USAGE_REPORTING="1",
        CLOUDSDK_CORE_PROJECT=PROJECT,
    )


@pytest.fixture(name="ada")
def _ada(stage: Stage) -> Stage:
    """Return the desk of a person, with a login configuration and a browser that they sit at."""
    address, password = new_person(stage)
    config = {
        "type": "external_account_authorized_user_login_config",
        "audience": "//iam.googleapis.com/locations/global/workforcePools/bonded/providers/people",
        "auth_url": f"{stage.origin}/authorize",
        "token_url": f"{stage.origin}/v1/oauthtoken",
        "token_info_url": f"{stage.origin}/v1/introspect",
        "universe_domain": "googleapis.com",
    }
    (stage.desk.home / "login.json").write_text(json.dumps(config))
    return stage.with_settings(
        BROWSER=f"{sys.executable} {ROOT / 'tests' / 'support' / 'person.py'} %s &",
        # gcloud opens no browser where it sees no display.
        DISPLAY=":0",
        PERSON_TYPES=json.dumps({"address": address, "password": password}),
    )


def gcloud(stage: Stage, *arguments: str) -> str:
    """Run gcloud; return what it said."""
    return stage.desk.run("/usr/bin/gcloud", *arguments).output


def opens(stage: Stage, token: str) -> bool:
    """Say whether *token* opens the repository."""
    python = tool("keyring", "python")
    return stage.desk.run(python, "-c", PAGE, stage.index_url, token).output == "200\n"


def publish(stage: Stage, directory: Path) -> None:
    """Publish a wheel with twine and the stock plugin."""
    wheel = make_wheel("by-twine", "1.0").write_to(directory)
    twine = (tool("keyring", "twine"), "upload", "--non-interactive", "--username", USER)
    stage.desk.run(*twine, "--repository-url", stage.upload_url, wheel)
    assert list(stage.shelf.list_files("by-twine")) == [wheel.name]


def test_a_key_file_signs_gcloud_in_and_its_commands_work_here(
    stage: Stage, tmp_path: Path
) -> None:
    with key_file(stage) as ready:
        path = ready.desk.settings["GOOGLE_APPLICATION_CREDENTIALS"]
    said = gcloud(stage, "auth", "login", f"--cred-file={path}")

    listed = gcloud(stage, "artifacts", "repositories", "list", "--format=value(name)").split()
    where = f"--repository={stage.shelf.name}"
    settings = gcloud(stage, "artifacts", "print-settings", "python", where)
    token = gcloud(stage, "auth", "print-access-token").strip()

    assert "Authenticated with service account credentials for: [bonded-admin@" in said
    assert stage.shelf.name in listed
    assert f"repository: {stage.upload_url}\n" in settings
    assert stage.index_url.removeprefix("https://") in settings
    assert opens(stage, token)
    # The stock plugin, without any default credential, asks gcloud.
    publish(stage, tmp_path)
    assert stage.front.names == {stage.host}


def test_a_workload_signs_gcloud_in(stage: Stage, tmp_path: Path) -> None:
    with workload(stage) as ready:
        path = ready.desk.settings["GOOGLE_APPLICATION_CREDENTIALS"]
        stage = stage.with_settings(GOOGLE_CLOUD_PROJECT=PROJECT)
        said = gcloud(stage, "auth", "login", f"--cred-file={path}")
        where = f"--repository={stage.shelf.name}"
        settings = gcloud(stage, "artifacts", "print-settings", "python", where)
        token = gcloud(stage, "auth", "print-access-token").strip()

    assert "Authenticated with external account credentials for: [" in said
    assert f"repository: {stage.upload_url}\n" in settings
    assert opens(stage, token)
    assert stage.front.names == {stage.host}


def test_a_login_configuration_signs_a_person_in_to_gcloud(ada: Stage, tmp_path: Path) -> None:
    said = gcloud(ada, "auth", "login", f"--login-config={ada.desk.home / 'login.json'}")

    where = f"--repository={ada.shelf.name}"
    settings = gcloud(ada, "artifacts", "print-settings", "python", where)
    python = tool("keyring", "python")
    token = ada.desk.run(python, "-W", "ignore", "-c", FALL_BACK).output.split()[-1]

    address = json.loads(ada.desk.settings["PERSON_TYPES"])["address"]
    assert f"for: [{address}]" in said
    assert f"repository: {ada.upload_url}\n" in settings
    assert opens(ada, token)


def test_a_login_configuration_writes_a_default_credential_that_the_stock_plugin_takes(
    ada: Stage, tmp_path: Path
) -> None:
    login = ("auth", "application-default", "login", "--disable-quota-project")
    gcloud(ada, *login, f"--login-config={ada.desk.home / 'login.json'}")

    path = ada.desk.home / ".config" / "gcloud" / "application_default_credentials.json"
    assert json.loads(path.read_text())["token_url"] == f"{ada.origin}/v1/oauthtoken"
    publish(ada, tmp_path)
    assert ada.front.names == {ada.host}
