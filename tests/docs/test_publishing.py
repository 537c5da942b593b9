"""The page on publishing: its commands for S3 run as they stand, and its JSON is what the servers take."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import cop_zarr
from tests.support import factory
from tests.support.patience import STUCK_SECONDS
from tests.support.servers import S3

PAGE = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text("utf-8")
JSON = dict(
    zip(
        ("policy", "cors-s3", "cors-gcs"),
        re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL),
        strict=True,
    )
)
NEEDED = {"Content-Range", "Content-Length", "ETag"}


def test_every_range_read_of_a_browser_is_allowed() -> None:
    (rule,) = json.loads(JSON["cors-s3"])["CORSRules"]
    assert set(rule["ExposeHeaders"]) >= NEEDED
    assert set(rule["AllowedHeaders"]) >= {"Range", "If-Range"}
    (rule,) = json.loads(JSON["cors-gcs"])
    assert set(rule["responseHeader"]) >= {*NEEDED, "Range", "If-Range"}
    exposed = re.search(r'Expose-Headers "(.*)"', PAGE)
    assert exposed
    assert set(exposed[1].split(", ")) >= NEEDED


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("aws") is None, reason="needs the AWS command line")
def test_the_commands_for_s3(tmp_path: Path, s3: S3) -> None:
    s3.client.create_bucket(Bucket="bucket")
    source = factory.write_geotiff(tmp_path / "a.tif", rows=(300, 337), cols=(580, 633), bands=3)
    cop_zarr.ingest(source, tmp_path / "published" / "copernicus.zarr", shards=True)
    (tmp_path / "published" / "README.md").write_text("a")
    for name, text in JSON.items():
        (tmp_path / f"{name}.json").write_text(text)
    block = PAGE.partition("<!-- aws -->")[2].partition("```console\n")[2].partition("```")[0]
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.options["key"],
        "AWS_SECRET_ACCESS_KEY": s3.options["secret"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    commands = block.replace("$ ", "")
    subprocess.run(
        ["bash", "-euc", commands], check=True, cwd=tmp_path, env=environment, timeout=STUCK_SECONDS
    )
    assert cop_zarr.verify("s3://bucket/copernicus.zarr", source, storage_options=s3.options).ok
    (rule,) = s3.client.get_bucket_cors(Bucket="bucket")["CORSRules"]
    assert set(rule["ExposeHeaders"]) >= NEEDED
