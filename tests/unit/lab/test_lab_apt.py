"""The mirror, the proxy and the checks come from this machine's apt, never from the code."""

from __future__ import annotations

import pytest

from antiseche.errors import MissingRequirementError
from antiseche.lab import apt

LISTING = """\
http://mirror.example/debian/|bookworm|Debian|main
http://mirror.example/debian/|bookworm|Debian|contrib
http://mirror.example/debian/|bookworm-updates|Debian|main
http://mirror.example/debian-security/|bookworm-security|Debian|main
https://deb.example/node|nodistro|NodeSource|main
"""


def test_sources_are_grouped_by_archive_and_moved_to_another_suite() -> None:
    sources = apt._sources(LISTING, "bookworm")
    settings = apt.AptSettings(sources, ())
    assert settings.mirror == "http://mirror.example/debian"
    text = settings.sources_text("trixie")
    assert "Suites: trixie trixie-updates\nComponents: contrib main" in text
    assert "URIs: http://mirror.example/debian-security\nSuites: trixie-security" in text
    assert "bookworm" not in text
    assert "node" not in text


def test_security_is_added_where_this_machine_forgot_it() -> None:
    sources = apt._sources("http://mirror.example/debian/|bookworm|Debian|main\n", "bookworm")
    assert any(s.uri == "http://mirror.example/debian-security" and s.pockets == ("-security",) for s in sources)


@pytest.mark.parametrize(
    "listing",
    [
        "",
        "\n",
        "garbage\n",
        "https://deb.example/|bookworm|Other|main\n",
        "http://mirror.example/debian/|trixie|Debian|main\n",
        "http://mirror.example/debian/|bookworm-backports|Debian|main\n",
        "cdrom://disc/|bookworm|Debian|main\n",
        "file:/srv/mirror|bookworm|Debian|main\n",
    ],
)
def test_without_a_usable_debian_archive_it_says_what_to_do(listing: str) -> None:
    with pytest.raises(MissingRequirementError, match="apt-get update"):
        apt._sources(listing, "bookworm")


def test_only_options_about_reaching_the_mirror_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = (
        'APT::Install-Recommends "0";\nAcquire::http "";\nAcquire::http::Proxy "http://10.0.0.1:3142";\n'
        'Acquire::Check-Date "false";\nAcquire::Languages:: "none";\nDir::Cache "x";\n'
    )
    monkeypatch.setattr(apt, "_run", lambda *_argv: dump)
    assert apt._options() == ('Acquire::http::Proxy "http://10.0.0.1:3142";', 'Acquire::Check-Date "false";')


def test_no_apt_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert apt._run("apt-get", "indextargets") == ""
