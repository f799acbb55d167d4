"""A client that shares no code with this node: Node.js with grpc-js, its checks written from protos/README.md alone.

Skipped where Node.js, npm or the npm registry are out of reach; nothing else is a reason to skip.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INSTALL_SECONDS = 300
RUN_SECONDS = 60
OUT_OF_REACH = re.compile(
    "ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT"
)
OLDEST_NODE = 18

Run = Callable[[str, Path], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs client.js with its pinned packages and an image of the protos."""
    nodejs, npm = shutil.which("node"), shutil.which("npm")
    if nodejs is None or npm is None:
        pytest.skip("Node.js and npm are not installed (Debian: apt-get install nodejs npm)")
    version = subprocess.run([nodejs, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node.js {version.strip()} is older than {OLDEST_NODE}, which grpc-js needs")
    folder = tmp_path_factory.mktemp("nodejs")
    for source in (*HERE.glob("*.js"), *HERE.glob("package*.json")):
        shutil.copy(source, folder)
    install = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if install.returncode and OUT_OF_REACH.search(install.stderr):
        pytest.skip("the npm registry is out of reach, so grpc-js can not be installed")
    assert install.returncode == 0, install.stderr
    image = folder / "image.binpb"
    subprocess.run(
        [sys.executable, str(ROOT / "protos" / "build_hook.py"), "image", str(image)],
        check=True,
        timeout=RUN_SECONDS,
    )

    def run(mode: str, argument: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [nodejs, str(folder / "client.js"), mode, str(image), str(argument)],
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    return run
