"""What ruamel.yaml reports in English, as a sentence that says what to do."""

from __future__ import annotations

from ruamel.yaml.error import MarkedYAMLError

from antiseche.i18n import N_, _

# (in the context, in the problem, sentence); the first that fits. Texts are those of ruamel.yaml's scanner and parser.
_REASONS: tuple[tuple[str, str, str], ...] = (
    ("", "character '\\t' that cannot start", N_("tabulation : YAML n'accepte que des espaces")),
    ("", "cannot start any token", N_("ce caractère ne peut pas commencer une valeur : mettez-la entre guillemets")),
    ("double-quoted scalar", "escape", N_("entre guillemets doubles, « \\ » commence un code : doublez-le")),
    ("quoted scalar", "", N_("guillemets non fermés")),
    ("", "could not find expected ':'", N_("il manque « : » après la clé")),
    ("", "sequence entries are not allowed", N_("tiret inattendu : vérifiez l'alignement, ou mettez la valeur entre guillemets")),
    ("", "mapping keys are not allowed", N_("« ? » inattendu : mettez la valeur entre guillemets")),
    ("flow", "", N_("crochet ou accolade mal fermé : il manque une virgule, un crochet ou une accolade")),
    ("", "but found '<scalar>'", N_("texte inattendu : guillemets mal fermés plus haut, ou alignement incorrect")),
    ("block mapping", "", N_("alignement incorrect : vérifiez les espaces en début de ligne")),
    ("block collection", "", N_("alignement incorrect : vérifiez les espaces en début de ligne")),
    ("block scalar", "", N_("texte sur plusieurs lignes mal annoncé : mettez la valeur sur une ligne, entre guillemets")),
    ("an alias", "", N_("« * » ne peut pas commencer une valeur : mettez-la entre guillemets")),
    ("an anchor", "", N_("« & » ne peut pas commencer une valeur : mettez-la entre guillemets")),
    ("tag", "", N_("« ! » ne peut pas commencer une valeur : mettez-la entre guillemets")),
    ("", "tag handle", N_("« ! » ne peut pas commencer une valeur : mettez-la entre guillemets")),
    ("directive", "", N_("ligne « % » non admise : retirez-la")),
    ("", "directive", N_("ligne « % » non admise : retirez-la")),
    ("", "version 1.*", N_("ligne « % » non admise : retirez-la")),
)
_COLON_IN_TEXT = N_("deux-points dans un texte : mettez la valeur entre guillemets")
_COLON_OF_KEY = N_("« : » inattendu : vérifiez l'alignement, et l'espace après « : » à la ligne précédente")
_OTHER = N_("YAML incorrect : vérifiez les guillemets, les deux-points et l'alignement")


def reason(error: MarkedYAMLError, before: str) -> str:
    """Return the sentence.

    Args:
        error: what ruamel.yaml raised.
        before: what stands before the error on its line.
    """
    context, problem = error.context or "", error.problem or ""
    if "mapping values are not allowed" in problem:
        sentence = _COLON_IN_TEXT if ": " in before else _COLON_OF_KEY
        return _(sentence)
    for in_context, in_problem, sentence in _REASONS:
        if in_context in context and in_problem in problem:
            return _(sentence)
    return _(_OTHER)


def begins_earlier(error: MarkedYAMLError) -> bool:
    """Say whether the place to look at is where the quote, the bracket or the key begins."""
    context, problem = error.context or "", error.problem or ""
    return "flow" in context or "expected ':'" in problem or ("quoted scalar" in context and "escape" not in problem)
