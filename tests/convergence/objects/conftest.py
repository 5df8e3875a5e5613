"""s3proxy, a whole S3 server on a folder, beside the stand-in that the tests of lakes use."""

import subprocess
from collections.abc import Iterator

import pytest

from convergence.services.jars import install, java
from convergence.services.ports import free_ports
from resources.environments import ROOT, Settings
from tests.conftest import needed_service
from tests.convergence.lake.conftest import KEYS, wait_until_it_listens, with_bucket


@pytest.fixture(scope="session")
def s3proxy_options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """obstore's options of a server with an empty bucket."""
    with needed_service():
        program, libs = java(), install(ROOT / "deploy" / "s3proxy", Settings().home / "services" / "s3proxy")
    folder, (port,) = tmp_path_factory.mktemp("s3proxy"), free_ports(1)
    endpoint, properties = f"http://127.0.0.1:{port}", folder / "s3proxy.conf"
    (folder / "data").mkdir()
    properties.write_text(
        f"""s3proxy.endpoint={endpoint}
s3proxy.authorization=aws-v2-or-v4
s3proxy.identity={KEYS["AWS_ACCESS_KEY_ID"]}
s3proxy.credential={KEYS["AWS_SECRET_ACCESS_KEY"]}
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir={folder / "data"}
"""
    )
    command = [program, "-Xmx256m", "-cp", f"{libs}/*", "org.gaul.s3proxy.Main", "--properties", str(properties)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            wait_until_it_listens(port, server)
            yield with_bucket(endpoint)
        finally:
            server.kill()
