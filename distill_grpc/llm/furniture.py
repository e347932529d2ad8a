"""What pages and mails say about themselves and not about the world."""

from __future__ import annotations

import re

_FURNITURE = re.compile(
    r"""(?:
      (?:click|tap)\ (?:here|below|the\ link)
      | read\ (?:more|on\b|the\ (?:full|rest|whole|original)) | continue\ reading
      | view\ (?:this|it|in|the|online|on) .{0,40} (?:browser|online|web|email|e-mail|github)
      | (?:you\ are\ receiving|you['\u2019]re\ receiving|you\ received\ this)
      | reply\ to\ this\ e?-?mail | (?:to\ )?unsubscribe | (?:please\ )?(?:like\ and\ )?subscribe\b
      | sign\ up\ (?:for|to|now|here) | follow\ (?:us|me)\b
      | join\ (?:us\ on|our|my|the)\ .{0,30}(?:newsletter|discord|telegram|patreon|slack|channel|mailing)
      | share\ this | (?:this|our)\ (?:site|website)\ uses\ cookies
      | we\ (?:and\ our\ partners\ )?use\ cookies
      | (?:please\ )?(?:accept|enable)\ (?:all\ )?(?:cookies|javascript)
      | by\ (?:continuing|clicking|using)\b .{0,60}\b(?:agree|consent|accept) | sent\ from\ my
      | get\ outlook\ for | all\ rights\ reserved | copyright\b | © | \(c\)\ \d{4}
      | terms\ of\ (?:use|service) | privacy\ policy
      | this\ e-?mail\ (?:and|is|was|message) .{0,80}(?:confidential|intended|sent\ to)
      | if\ you\ (?:no\ longer|are\ not\ the\ intended|don['\u2019]t\ want|have\ trouble)
      | do\ not\ reply | advertisement\b | sponsored\ (?:by|post)
      | (?:related|see\ also|more\ (?:from|on|stories)|filed\ under|tagged|tags?|categor(?:y|ies)|source|via
          |photo|image|credits?|(?:posted|published)\ (?:by|in|on)|updated(?:\ on)?|permalink|comments?
          |discuss\ (?:on|this))\b\ ?:
      | originally\ (?:published|posted|appeared) | (?:leave|add|post)\ a\ comment | \d+\ comments?
      | thanks\ for\ (?:reading|watching|listening|subscribing)
      | (?:support|back)\ (?:us|me|the\ (?:show|channel))\ on
      | (?:use|with)\ (?:the\ )?(?:code|coupon) | links?\ in\ (?:the\ )?(?:bio|description|comments)
      | what\ do\ you\ think | let\ (?:me|us)\ know | tell\ (?:me|us)\ (?:what|in)
      | have\ a\ (?:great|nice|good)\ (?:day|week|weekend) | weiterlesen
      | mehr\ (?:lesen|erfahren|dazu) | hier\ klicken | klicken\ sie | newsletter\ abbestellen
      | (?:diese|unsere)\ (?:web)?(?:site|seite)\ (?:verwendet|nutzt)\ cookies
      | wir\ (?:verwenden|nutzen)\ cookies | von\ meinem\ \w+\ gesendet | alle\ rechte\ vorbehalten
      | lire\ (?:la\ suite|plus|aussi) | en\ savoir\ plus | cliquez\ ici | se\ désabonner
      | nous\ utilisons\ des\ cookies | ce\ site\ utilise | envoyé\ de\ mon | tous\ droits\ réservés
      | (?:leer|ver|saber)\ más | haz\ clic | (?:utilizamos|usamos)\ cookies
      | este\ sitio\ (?:web\ )?(?:utiliza|usa)\ cookies | enviado\ desde\ mi | todos\ los\ derechos
      | (?:leggi|continua\ a\ leggere|scopri\ di\ più) | clicca\ qui
      | questo\ sito\ (?:utilizza|usa) | inviato\ da(?:l|\ (?:iphone|ipad))
      | tutti\ i\ diritti | (?:leia|saiba|ler)\ mais
      | clique\ aqui | (?:este|nosso)\ site\ (?:utiliza|usa) | enviado\ do\ meu
      | todos\ os\ direitos | lees\ (?:meer|verder) | klik\ hier | (?:wij|we)\ gebruiken\ cookies
      | deze\ (?:web)?site\ gebruikt | verzonden\ vanaf | alle\ rechten
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_GREETING = re.compile(
    r"""(?:
      hi | hey | hello | dear | good\ (?:morning|afternoon|evening) | hallo | liebe[rs]?
      | guten\ (?:tag|morgen)
      | sehr\ geehrte[rs]? | bonjour | ch(?:er|ère) | hola | estimad[oa] | ciao | gentile | olá | car[oa]
      | beste | geachte
    )\b[^.!?]{0,50}[,!.:]?""",
    re.IGNORECASE | re.VERBOSE,
)


def is_furniture(sentence: str) -> bool:
    """True for what pages and mails say about themselves: cookies, subscriptions, legal notes."""
    head = sentence.lstrip("-–—•*>→ \"'“([")  # noqa: RUF001 -- what furniture may begin with
    return _FURNITURE.match(head) is not None


def is_greeting(sentence: str) -> bool:
    """True for the line by which a letter begins."""
    return _GREETING.fullmatch(sentence) is not None
