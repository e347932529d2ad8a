"""Words by which a document asks to be acted on."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signal:
    """A kind of urgency: what it is called, how much it weighs, how it is recognised."""

    name: str
    weight: float
    pattern: re.Pattern[str]


def _words(expression: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{expression})\b", re.IGNORECASE | re.VERBOSE)


SIGNALS = (
    Signal(
        "Security",
        3.0,
        _words(
            r"""
            CVE-\d{4}-\d{4,7} | zero[- ]day
            | (?:critical|severe|serious|security|unpatched|known|software)\ vulnerabilit(?:y|ies)
            | vulnerabilit(?:y|ies)\ (?:in|allows?|affect\w*)
            | security\ (?:advisory|update|patch|fix|issue|alert|flaw|hole|notice)
            | data\ (?:breach|leak) | actively\ exploited | remote\ code\ execution
            | compromised\ (?:account|package|password|credentials) | Sicherheitslücken?
            | Sicherheitsupdates? | Datenleck | failles?\ de\ sécurité | faille\ critique
            | fuite\ de\ données | vulnerabilidad(?:es)? | fallo\ de\ seguridad
            | brecha\ de\ (?:datos|seguridad) | vulnerabilità | falla\ di\ sicurezza
            | vulnerabilidades? | falha\ de\ segurança | vazamento\ de\ dados
            | kwetsbaarhe(?:id|den) | beveiligingslek | datalek
            """
        ),
    ),
    Signal(
        "Action needed",
        2.5,
        _words(
            r"""
            action\ (?:is\ )?(?:required|needed)
            | (?:payment|charge|build|deployment|renewal)\ (?:has\ )?(?:failed|declined) | past\ due
            | overdue | please\ (?:confirm|review|approve|respond|sign|pay|verify|reply)
            | (?:your|the)\ (?:review|approval|signature)\ (?:is|was)\ requested
            | requested\ your\ review | assigned\ (?:this\ )?to\ you
            | account\ (?:will\ be|is|was|has\ been)\ (?:suspended|closed|locked|deleted)
            | Handlungsbedarf | bitte\ (?:bestätigen|prüfen|antworten|überweisen|zahlen)
            | Zahlung\ fehlgeschlagen | Mahnung | action\ requise
            | merci\ de\ (?:confirmer|répondre|valider)
            | veuillez\ (?:confirmer|répondre|valider|payer) | paiement\ refusé
            | acción\ (?:requerida|necesaria) | por\ favor,?\ (?:confirme|confirma|revise|responda)
            | pago\ (?:fallido|rechazado) | azione\ richiesta
            | si\ prega\ di\ (?:confermare|rispondere) | pagamento\ (?:fallito|rifiutato)
            | ação\ (?:necessária|requerida) | por\ favor,?\ (?:confirme|responda)
            | pagamento\ recusado | actie\ (?:vereist|nodig)
            | gelieve\ te\ (?:bevestigen|antwoorden) | betaling\ mislukt
            """
        ),
    ),
    Signal(
        "Deadline",
        2.0,
        _words(
            r"""
            deadline | due\ (?:by|on|date|today|tomorrow)
            | (?:expires?|expiring)\ (?:on|in|at|today|tomorrow|soon) | last\ (?:day|chance)\ to
            | (?:ends|closes)\ (?:today|tomorrow|tonight|on\ \w+day) | no\ later\ than
            | (?:submit|register|respond|reply|apply|confirm|pay|renew|vote)\ (?:\w+\ ){0,4}(?:by|before)
              \ (?:today|tomorrow|tonight|\w+day|\d|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\w*)
            | (?:submissions?|registration|applications?|call\ for\ papers)\ (?:close|end)s? | Frist
            | Einsendeschluss | Anmeldeschluss | spätestens\ (?:bis|am)
            | läuft\ (?:am\ .{1,20}\ )?ab | date\ limite | dernier\ délai | au\ plus\ tard
            | expire\ (?:le|demain) | fecha\ límite | plazo | a\ más\ tardar | vence\ (?:el|mañana)
            | scadenza | entro\ e\ non\ oltre | scade\ (?:il|domani) | prazo | data\ limite
            | o\ mais\ tardar | uiterste\ datum | verloopt\ (?:op|morgen)
            """
        ),
    ),
    Signal(
        "Change ahead",
        1.5,
        _words(
            r"""
            breaking\ changes? | deprecat(?:ed|es|ing|ion) | end[- ]of[- ](?:life|support)
            | (?:will\ be|is\ being|are\ being)\ (?:shut\ down|retired|discontinued|removed|sunset)
            | shutting\ down | (?:major|service)\ outage | (?:product|safety)\ recall
            | price\ (?:increase|rise|change)s? | (?:new|updated)\ terms\ of\ service
            | scheduled\ maintenance | wird\ (?:eingestellt|abgeschaltet) | Preiserhöhung
            | Rückruf(?:aktion)? | Störung | hausse\ des?\ prix | fin\ (?:de\ vie|du\ support)
            | rappel\ de\ produits? | subida\ de\ precios? | dejará\ de\ (?:funcionar|existir)
            | aumento\ (?:dei\ prezzi|de\ preços?) | descontinuad[oa] | prijsverhoging
            | terugroepactie
            """
        ),
    ),
)


def strongest(text: str) -> Signal | None:
    """The weightiest signal in a text, or None."""
    return next((signal for signal in SIGNALS if signal.pattern.search(text)), None)
