"""What is verified is all that belongs to the folder, and known again by its digest."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rspp.cli.verify import ground
from rspp.contract.errors import LimitReached, MisuseError


def project(folder: Path) -> Path:
    files = {
        "shop.yaml": "pipeline: shop\nversion: v1\n",
        "layers/prod.yaml": "policies: {}\n",
        "tests/wrong.yaml": "pipeline: wrong\n",
        "compose.yaml": "services: {}\n",
        "recordings/a.rspp": "a",
        "recordings/deep/b.rspp": "b",
        "elsewhere/c.rspp": "c",
        ".env": "KEY=1",
        ".github/ci.yaml": "jobs: {}\n",
        "sub/.rspp/control.db": "d",
        "__pycache__/x.pyc": "x",
        ".rspp/spool/s.seg": "s",
        "runs/.gitignore": "*\n",
        "runs/report.json": "{}",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


VISIBLE = {
    "shop.yaml",
    "layers/prod.yaml",
    "tests/wrong.yaml",
    "compose.yaml",
    "recordings/a.rspp",
    "recordings/deep/b.rspp",
    "elsewhere/c.rspp",
    ".env",
    ".github/ci.yaml",
}


@pytest.mark.parametrize("with_git", [False, True])
def test_what_tools_and_runs_leave_behind_does_not_belong_to_it(tmp_path: Path, with_git: bool) -> None:
    project(tmp_path)
    if with_git:
        (tmp_path / ".gitignore").write_text("__pycache__/\n")
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert {one for one in ground.visible(tmp_path) if one != ".gitignore"} == VISIBLE


def test_the_digest_changes_with_a_byte_a_name_and_a_link_and_with_nothing_else(tmp_path: Path) -> None:
    project(tmp_path)
    before = ground.digest_of(tmp_path)
    (tmp_path / "runs/report.json").write_text("{1}")
    assert ground.digest_of(tmp_path) == before
    (tmp_path / "shop.yaml").write_text("pipeline: shop\nversion: v2\n")
    changed = ground.digest_of(tmp_path)
    (tmp_path / "shop.yaml").rename(tmp_path / "shop2.yaml")
    renamed = ground.digest_of(tmp_path)
    (tmp_path / "link").symlink_to("shop2.yaml")
    linked = ground.digest_of(tmp_path)
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("compose.yaml")
    assert len({before, changed, renamed, linked, ground.digest_of(tmp_path)}) == 5


def test_what_a_link_leads_to_is_part_of_the_digest_wherever_it_lies(tmp_path: Path) -> None:
    folder, outside = tmp_path / "shop", tmp_path / "shared.yaml"
    folder.mkdir()
    outside.write_text("pipeline: shop\n")
    (folder / "shop.yaml").symlink_to(outside)
    before = ground.digest_of(folder)
    outside.write_text("pipeline: other\n")
    assert ground.digest_of(folder) != before


@pytest.mark.parametrize(
    "text",
    [
        "pipline: shop\nnodes: {}\nedges: []\n",
        "\ufeffpipeline: shop\n",
        '"pipeline" : shop\n',
        "name: shop\ntemplate: voice\nproviders: {}\n",
    ],
)
def test_a_pipeline_that_does_not_say_so_rightly_is_still_looked_at(tmp_path: Path, text: str) -> None:
    (tmp_path / "shop.yaml").write_text(text)
    (tmp_path / "compose.yaml").write_text("services: {}\nnodes: []\n")
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers/prod.yaml").write_text("template: x\nproviders: {}\n")
    assert ground.pipelines(tmp_path) == (tmp_path / "shop.yaml",)
    assert ground.layers(tmp_path) == (tmp_path / "layers/prod.yaml",)


def test_a_checkout_from_anywhere_has_nothing_of_its_own_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "spy").write_text(f"#!/bin/sh\ntouch {tmp_path}/was_run\n")
    (tmp_path / "spy").chmod(0o755)
    subprocess.run(["git", "-C", str(tmp_path), "config", "core.fsmonitor", f"{tmp_path}/spy"], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert "shop.yaml" in ground.visible(tmp_path)
    assert not (tmp_path / "was_run").exists()


def test_pipelines_layers_and_corpora_are_found_where_they_are(tmp_path: Path) -> None:
    project(tmp_path)
    assert ground.pipelines(tmp_path) == (tmp_path / "shop.yaml",)
    assert ground.layers(tmp_path) == (tmp_path / "layers/prod.yaml",)
    assert ground.corpora(tmp_path) == (tmp_path / "elsewhere", tmp_path / "recordings")
    assert not ground.is_checkout(tmp_path)


def test_too_much_is_refused_and_not_looked_at_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path)
    monkeypatch.setattr(ground, "BYTES_MAX", 5)
    with pytest.raises(LimitReached, match="verify_too_large"):
        ground.digest_of(tmp_path)
    monkeypatch.setattr(ground, "FILES_MAX", 3)
    with pytest.raises(LimitReached, match="verify_too_large"):
        ground.visible(tmp_path)
    with pytest.raises(MisuseError, match="verify_no_ground"):
        ground.visible(tmp_path / "nowhere")
