"""The README, the settings, the routes and the commands say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from distill_grpc.cli import main
from distill_grpc.proto import contract
from distill_grpc.settings import Settings, variable
from distill_grpc.sources import registry
from distill_grpc.sources.http import HttpClient

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGE_OF_SOURCES = (ROOT / "docs" / "sources.md").read_text()
SOURCES = registry.build((), mock=False, http=HttpClient(allow_private_addresses=False))
ROWS = dict(re.findall(r"^\| `(DISTILL_[A-Z_]+)` \| (.+) \| [^|]+ \|$", README, re.MULTILINE))


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_has_its_row_in_the_words_of_the_code(field: str) -> None:
    assert ROWS[variable(field)] == Settings.model_fields[field].description


def test_no_row_is_about_a_setting_that_is_not_there() -> None:
    assert set(ROWS) == {variable(field) for field in Settings.model_fields}


def test_every_command_is_in_the_readme() -> None:
    group = typer.main.get_command(main.app)
    names = [name for name, command in group.commands.items() if not command.hidden]  # type: ignore[attr-defined]
    missing = [name for name in names if not re.search(rf"`[^`]*\b{name}\b[^`]*`", README)]
    assert not missing


def test_every_path_in_the_map_is_there() -> None:
    named = re.findall(r"`((?:distill_grpc|http_facade|protos|tests|docs|feed)/[\w/.]+)`", README)
    for path in named:
        here = ROOT / path if (ROOT / path).exists() else ROOT / "distill_grpc" / path
        assert here.exists(), path


def test_every_link_and_path_of_the_documents_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_explained_with_all_it_takes(name: str) -> None:
    info = SOURCES[name].info
    assert f"| `{name}` |" in README
    (section,) = re.findall(rf"^## {name}$(.*?)^## ", PAGE_OF_SOURCES, re.MULTILINE | re.DOTALL)
    tables = "\n".join(line for line in section.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`([a-z_]+)`", tables))
    assert named >= {*info.credentials, *info.settings}
    for scope in info.oauth_scopes:
        assert scope in section


def test_every_service_is_in_the_contract_s_readme() -> None:
    text = (ROOT / "protos" / "README.md").read_text()
    for service in contract.services():
        assert service.file.name in text
    for rpc in contract.rpcs():
        assert rpc.path.split("{")[0].rstrip("/") in text or rpc.path.startswith("/.well-known")
