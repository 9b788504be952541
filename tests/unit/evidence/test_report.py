"""The report: one file that fetches nothing, says everything, and takes what hosts answered for text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
import scene as scenes
from scene import Scene

from antiseche import i18n
from antiseche.evidence.grouping import Difference
from antiseche.evidence.passes import Pass
from antiseche.evidence.report import render, write_report
from antiseche.verify.observation import observe
from antiseche.verify.run import Outcome

KEY = ("accueil", "ALP-01")
FAIL = {KEY: "fail"}
HOSTILE = "<script>alert(1)</script>\"'&<b>é</b>{{ 7 * 7 }}</pre></details>"
WRITTEN = HOSTILE.replace("{{ 7 * 7 }}", "")  # the answers refuse template marks
VOID = ("meta", "br")


class Page(HTMLParser):
    """Reads a page strictly: every tag closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def page(scene: Scene, found: Pass, differences: list[Difference] | None = None) -> Page:
    return Page(render(found, scene.answers, differences or []))


@pytest.fixture(params=["fr", "en"])
def language(request: pytest.FixtureRequest) -> Iterator[str]:
    i18n.select(request.param)
    yield request.param
    i18n.select("fr")


def test_it_is_written_private_beside_the_results(scene: Scene) -> None:
    found = scene.verify(FAIL)
    path = write_report(found, scene.answers, differences=[])

    assert path == found.run.dir / "report.html"
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_runs_nothing_and_fetches_nothing(scene: Scene) -> None:
    scene.verify()
    text = render(scene.verify(FAIL), scene.answers, [Difference("accueil", "alpha", "Alpha", "file x")])

    assert not re.search(r"<script|<link|<img|<iframe|<object|\son\w+=|url\(|@import|src=|https?://", text, re.IGNORECASE)
    assert {attributes["href"] for attributes in Page(text).all("a")} <= {f"#{i}" for i in re.findall(r'id="(\w+)"', text)}


def test_its_structure_is_readable_by_everybody(scene: Scene, language: str) -> None:
    scene.replace_answers(waivers=[scenes.waiver(control="ALP-02")])
    scene.verify()
    found = scene.verify({**FAIL, ("cabinet", "ALP-02"): "fail", ("serveur", "BET-01"): "error"})
    read = page(scene, found, [Difference("accueil", "alpha", "Alpha", "file x")])

    assert read.all("html") == [{"lang": language}]
    assert len(read.all("title")) == len(read.all("h1")) == len(read.all("main")) == 1
    levels = [int(tag[1]) for tag, _attributes in read.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(attributes.get("scope") in ("col", "row", "rowgroup") for attributes in read.all("th"))
    assert len(read.all("table")) == len(read.all("thead"))
    ids = re.findall(r'id="(\w+)"', render(found, scene.answers, []))
    assert len(ids) == len(set(ids))


def test_colours_are_strong_enough_and_never_alone(scene: Scene) -> None:
    text = render(scene.verify({**FAIL, ("cabinet", "ALP-01"): "error"}), scene.answers, [])
    colours = dict(re.findall(r"--(\w+): #([0-9a-f]{6})", text))

    def luminance(value: str) -> float:
        parts = [int(value[n : n + 2], 16) / 255 for n in (0, 2, 4)]
        r, g, b = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    for name in ("ink", "soft", "bad", "good", "warn", "accent"):
        for ground in ("ffffff", colours["wash"], colours["warnwash"]):
            assert (luminance(ground) + 0.05) / (luminance(colours[name]) + 0.05) >= 4.5, (name, ground)
    assert "✗</span> Écart" in text
    assert "!</span> Erreur de vérification" in text


def test_it_says_what_where_and_what_to_do(scene: Scene) -> None:
    read = page(scene, scene.verify(FAIL))

    for words in (
        "Cabinet des Tilleuls", "Prestataire Exemple", "02/11/2026 13:01", "Europe/Paris",
        "8 conformes sur 9 vérifiables ; 1 écart", "Cassé ALP-01.", "vu ALP-01 autrement", "Réparer ALP-01.", "Phrase ALP-01.",
        "ANSSI hygiène 1", "Guide d'hygiène informatique", "sources secondaires", "réponse de accueil", "ni une certification",
    ):  # fmt: skip
        assert words in read.text, words


def test_figures_are_those_of_the_results(scene: Scene) -> None:
    found = scene.verify({KEY: "fail", ("cabinet", "ALP-01"): "error", ("serveur", "BET-01"): "not-applicable"})
    text = render(found, scene.answers, [])

    tiles = [int(n) for n in re.findall(r"<b>(\d+)</b>", text)]
    assert tiles == [6, 1, 0, 1, 1]
    assert sum(tiles) == found.counts["total"]


def test_what_hosts_answer_is_text(scene: Scene) -> None:
    verification = scene.verification()
    observation = observe("accueil", f"cat {HOSTILE}", 0, HOSTILE.encode() * 3, b"")
    verification.observations.append(observation.as_json())
    verification.outcomes[0] = Outcome(*KEY, "fail", HOSTILE, (observation.leaf,))
    verification.unreachable["serveur"] = HOSTILE
    run = scenes.records.create_run(scene.folder, "verify", expected=list(scenes.HOSTS))
    found = scenes.record_pass(scene.folder, scene.answers, run, verification, (), scene.now)
    read = page(scene, found, [Difference("accueil", "alpha", HOSTILE, HOSTILE)])

    assert read.all("script") == []
    assert read.text.count(HOSTILE) >= 5


def test_what_people_wrote_is_text(scene: Scene) -> None:
    scene.replace_answers(
        practice={"id": "tilleuls", "name": "Cabinet <script>l'Été</script>"},
        waivers=[scenes.waiver(reason=WRITTEN, accepted_by="Dr <i>Exemple</i>")],
    )
    read = page(scene, scene.verify(FAIL))

    assert read.all("script", "i") == []
    assert WRITTEN in read.text


def test_each_waiver_says_whether_it_still_counts(scene: Scene) -> None:
    scene.replace_answers(
        waivers=[
            scenes.waiver(1),
            scenes.waiver(2, control="ALP-02"),
            scenes.waiver(3, expires_on="2026-10-31"),
            scenes.waiver(4, accepted_on="2026-11-20", expires_on="2026-11-30"),
            scenes.waiver(5, control="ZZZ-99"),
        ]
    )
    text = page(scene, scene.verify(FAIL)).text

    for state in (
        "en vigueur",
        "sans écart à couvrir",
        "échue, ne compte plus",
        "pas encore commencée",
        "ce contrôle n'existe pas",
    ):
        assert state in text, state
    for words in ("Dr Camille Exemple", "30/11/2026", "Machine isolée."):
        assert words in text


def test_a_host_that_did_not_answer_is_said_first(scene: Scene) -> None:
    text = page(scene, scene.verify(FAIL, gone=("serveur",))).text

    assert text.index("serveur n'a pas répondu") < text.index("Cassé ALP-01.")
    assert "Rien : tous les contrôles" not in text


def test_a_partial_pass_says_so(scene: Scene) -> None:
    scene.verify()
    text = page(scene, scene.verify(hosts=("accueil",), roles=("alpha",))).text

    assert "Passage partiel" in text
    assert "1 machine sur 3 ; Thème alpha" in text
    assert "Titre BET-01" not in text, "what was not looked at is not shown as if it had been"


@pytest.mark.parametrize("rehearsal", [False, True])
def test_a_rehearsal_says_so(scene: Scene, rehearsal: bool) -> None:
    if rehearsal:
        (scene.folder.root / "rehearsal.json").write_text("{}")

    assert ("Répétition sur des machines d'essai." in page(scene, scene.verify()).text) is rehearsal


def test_unchanged_is_a_proof_too(scene: Scene) -> None:
    scene.verify()
    scene.later(days=7)
    scene.verify()
    scene.later(days=7)

    assert "à chaque passage depuis le 02/11/2026 13:01 (3 passages)" in page(scene, scene.verify()).text


def test_what_changed_is_told_with_its_cause(scene: Scene) -> None:
    scene.verify(FAIL)
    scene.deploy(("accueil", "alpha"))
    text = page(scene, scene.verify({("cabinet", "ALP-02"): "fail"})).text

    assert "corrigé par le kit" in text
    assert "dérive" in text


@pytest.mark.parametrize("outcomes", [{}, FAIL, scenes.everything("error"), scenes.everything("not-applicable")])
def test_it_can_be_rendered_in_both_languages_whatever_was_found(
    scene: Scene, language: str, outcomes: dict[tuple[str, str], str]
) -> None:
    found = scene.verify(outcomes)

    assert page(scene, found).text


def test_it_is_english_for_an_english_reader(scene: Scene) -> None:
    i18n.select("en")
    try:
        text = page(
            scene, scene.verify({**FAIL, ("cabinet", "BET-01"): "error"}), [Difference("accueil", "alpha", "A", "file x")]
        ).text
    finally:
        i18n.select("fr")

    french = re.findall(
        r"\b(le|les|machines du cabinet|passage|contrôle|écart|dérogation|que|est|pas)\b",
        re.sub(r"vu \w+-\d+ autrement|[«»]", "", text),
    )
    assert french == [], text


def test_many_hosts_stay_readable(scene: Scene) -> None:
    hosts = [f"poste-{n:02}" for n in range(20)]
    scene.replace_answers(
        hosts=[{"name": name, "address": f"192.168.1.{n + 20}", "users": ["cexemple"]} for n, name in enumerate(hosts)]
    )
    scene.write_inventory(hosts)
    found = scene.verify({(host, "ALP-01"): "fail" for host in hosts}, hosts=hosts)
    text = render(found, scene.answers, [])

    assert text.count("Cassé ALP-01.") == 1
    assert len(text) < 60_000
    Page(text)
