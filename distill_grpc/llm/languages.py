"""What is known of languages without a model: stop words, a guess, light stems, and terms.

Terms are what texts are compared by: casefolded words without stop words, cut to a light stem; runs
of scripts that write no spaces between words become overlapping pairs of characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence


def listed(text: str) -> frozenset[str]:
    """The words of a list."""
    return frozenset(text.split())


_STOP_TEXTS = {
    "en": """a about above after again all almost also always am an and another any are aren around as at
        away be became because been before being below between both but by came can cannot come could
        couldn day did didn do does doesn doing don done down during each either else even ever every few
        first for from further get gets getting give go goes going gone got great had has hasn have haven
        having he her here hers herself him himself his how however if in into is isn it its itself just
        keep know last least less let like ll lot made make makes making many may maybe me might mine more
        most much must my myself need never new next no nor not nothing now of off often on once one only
        onto or other others our ours out over own part per perhaps put quite rather re really s said same
        say says see seem seems set several shall she should shouldn since so some something still such
        take than that the their theirs them themselves then there these they thing things think this
        those though through thus time to today together too two under until up upon us use used using
        very want was wasn way we well went were weren what when where whether which while who whom whose
        why will with within without won would wouldn year years yes yet you your yours yourself""",
    "de": """aber alle allem allen aller alles als also am an ander andere anderen auch auf aus
        bei beim bin bis bist da dabei dadurch dafür damit dann daran darauf das dass dazu dein
        dem den denn der des dessen deshalb die dies diese diesem diesen dieser dieses doch dort
        du durch ein eine einem einen einer eines einige er es etwa etwas euch für gegen gibt habe
        haben hat hatte hatten hier hin ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im immer in
        ins inwiefern inwieweit ist ja jede jeder jetzt kann kein keine keinen können könnte
        machen man mehr mein mich mir mit muss müssen nach neu neue neuen neuer nicht nichts noch
        nun nur ob oder ohne schon sehr sein seine seinem seinen seiner seit sich sie sind so soll
        sollen sollte sondern über um und uns unser unter viel viele vom von vor wann war waren
        warum was weil welche welchem welchen welcher welches wem wen wenn wer werden weshalb
        wessen weswegen wie wieder wieso wieviel wieviele will wir wird wo wobei wodurch wofuer
        wofür wogegen woher wohin womit wonach woran worauf woraus worden worin worüber worueber
        worum wovon wovor wozu wurde wurden zu zum zur zwar zwischen""",
    "fr": """à ai ainsi alors après au aucun auquel aussi autre autres aux auxquelles auxquels
        avait avant avec avoir c car ce cela ces cet cette ceux chaque chez combien comme comment
        d dans de depuis des desquelles desquels deux donc dont du duquel elle elles en encore
        entre est et était été être eu fait faire fois font il ils j je jusqu l la là laquelle le
        lequel les lesquelles lesquels leur leurs lors lui m ma mais me même mes moins mon n ne
        nos notre nous on ont ou où par parce pas pendant peu peut plus plusieurs pour pourquoi qu
        quand que quel quelle quelles quels qui quoi s sa sans se sera ses si son sont sous sur t
        ta tandis te tous tout toute toutes très tu un une vers vos votre vous y""",
    "es": """adónde adonde al algo algunas algunos allí ante antes así aún aunque bien cada casi
        como cómo con contra cual cuál cuáles cuales cuando cuándo cuánta cuanta cuántas cuantas
        cuánto cuanto cuántos cuantos de del desde donde dónde dos durante e el él ella ellas
        ellos en entre era eran es esa esas ese eso esos esta está están estas este esto estos fue
        fueron ha había han hasta hay hace la las le les lo los más me mi mientras mismo muy nada
        ni no nos nosotros o otra otras otro otros para pero poco por porque porqué pues que qué
        quien quién quiénes quienes se sea según ser si sí sido sin sobre son su sus también tan
        tanto te tiene tienen toda todas todo todos tras tu un una uno unos y ya yo""",
    "it": """a ad agli ai al alla alle allo anche ancora avere aveva c che chi ci cioè col com
        come con contro cos cosa così cui da dai dal dalla dalle dallo degli dei del della delle
        dello dentro di dopo dov dove due e è ed era erano essere fa fatto fino fra già gli ha
        hanno ho i il in invece io l la le lei li lo loro lui ma me mentre mi mia mio molto ne
        negli nei nel nella nelle nello no noi non nostro o ogni oggi ora per perché perche perchè
        però più poi prima qual quale quali quand quando quant quanta quante quanti quanto quella
        quelle quello questa queste questi questo qui se sei sempre senza si sia sono sopra sotto
        sta stata stato su sua sue sugli sui sul sulla suo suoi tra tu tutti tutto un una uno va
        verso voi""",
    "pt": """a à ao aonde aos as às ainda além algo alguns ante antes após aquela aquele até cada
        cadê com como contra da das de dela dele depois desde dessa desse deste do dois dos duas
        durante e é ela elas ele eles em entre era essa essas esse esses esta está estão estas
        este estes eu foi foram há isso isto já lá lhe mais mas me mesmo meu minha muito na não
        nas nem no nos nós nossa nosso num numa o onde os ou para pela pelas pelo pelos pode por
        porque porquê pouco quais qual quando quanta quantas quanto quantos que quê quem se sem
        ser será seu seus sido só sob sobre sua suas também tão tem têm tinha toda todas todo
        todos tudo um uma umas uns você vocês""",
    "nl": """aan al alle alleen als altijd andere ben bij binnen bijna daar dan dat de deze die
        dit doen door dus een eens en er geen gaan gaat haar had heb hebben heeft hem het hier hij
        hoe hoelang hoeveel hoeveelste hoever hoezo hun ik in is ja je jij jullie kan kon kunnen
        maar me meer men met mij mijn moet moeten na naar niet niets nog nu of om omdat onder ons
        onze ook op over reeds steeds te tegen toch toen tot tussen u uit uw van veel voor vooral
        waar waaraan waarbij waardoor waarheen waarin waarmee waarnaar waarom waarop waarover
        waartegen waartoe waaruit waarvan waarvoor wanneer waren was wat we wel welk welke werd
        werden wie wiens wier wij wil worden wordt zal ze zeer zelf zich zij zijn zo zoals zonder
        zou zouden""",
}  # fmt: skip

STOP_WORDS = {code: listed(text) for code, text in _STOP_TEXTS.items()}

# Sentences that begin so lean on the one before them.
_LEANING = listed(
    """he she it they this that these those but and so however then also there which his her its their
    here either neither instead meanwhile still yet or nor because such both again thus therefore
    otherwise similarly likewise especially anyhow anyway perhaps maybe sure well first second finally apart
    er sie es das dies diese dieser aber und doch dann auch dort dabei deshalb dadurch damit trotzdem
    il elle ils elles ce cela cette ces mais et donc ainsi pourtant
    él ella ellos esto eso pero y además así
    egli lui lei questo questa ma e quindi inoltre
    ele ela eles isso isto mas assim
    hij zij dit maar en dus daarom"""
)

_LEANING_PHRASES = re.compile(
    r"""
      for\ (?:example|instance) | in\ (?:fact|addition|contrast|other\ words|that\ case|short|turn)
    | as\ (?:a\ result|such|you|i|mentioned)\b | on\ the\ (?:other\ hand|contrary)
    | to\ (?:do|achieve|fix|make)\ (?:this|that|so) | not\ so\b | even\ (?:better|worse)
    | (?:by|at)\ (?:contrast|least) | another\b
    | the\ (?:first|second|third|latter|former|other|same)\b
    | the\ (?:implication|result|problem|reason|point|question)\b
    | zum\ beispiel | im\ gegensatz | in\ diesem\ fall | par\ exemple | en\ effet | en\ revanche
    | por\ ejemplo | de\ hecho | sin\ embargo | per\ esempio | infatti | por\ exemplo | no\ entanto
    | bijvoorbeeld | bovendien
    """,
    re.IGNORECASE | re.VERBOSE,
)

# Longest first within a language: the first that leaves a stem long enough is cut.
_SUFFIX_TEXTS = {
    "en": "ations ation ingly ings ing edly ies ied ers ed es ly er s e y",
    "de": "ungen ung ern em en er es e n s",
    "fr": "ements ement ations ation euses euse aux es er ée és é s e x",
    "es": "aciones ación mente ando endo ados adas ado ada os as es a o e s",
    "it": "azioni azione mente ando endo ati ate ato ata i e a o",
    "pt": "ações ação mente ando endo ados adas ado ada os as es a o e s",
    "nl": "heden ingen ing en er je e s",
}
_SUFFIXES = {code: tuple(text.split()) for code, text in _SUFFIX_TEXTS.items()}
_MIN_STEM = 4

# What English verbs become in the past where no suffix tells: questions ask `did … pay`, texts say `paid`.
_PAST_TEXT = """paid pay bought buy sold sell won win lost lose built build found find met meet left leave
    spent spend sent send lent lend held hold led lead told tell taught teach thought think brought bring
    caught catch fought fight sought seek wrote write written write spoke speak spoken speak broke break
    broken break chose choose chosen choose drove drive driven drive rose rise risen rise stole steal
    stolen steal drew draw drawn draw grew grow grown grow flew fly flown fly threw throw thrown throw
    blew blow blown blow fell fall fallen fall began begin begun begin ran run sang sing sung sing sank
    sink sunk sink swam swim struck strike stood stand understood understand withdrew withdraw withdrawn
    withdraw froze freeze frozen freeze forgot forget forgotten forget wore wear worn wear rode ride shot
    shoot fed feed fled flee slept sleep swept sweep meant mean dealt deal felt feel beaten beat shown
    show laid lay ate eat eaten eat"""

# `\w` leaves out the vowel signs and marks that other scripts write inside their words.
_MARKS = (
    r"\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    r"\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e"
)
_WORD = re.compile(rf"\d+(?:[.,]\d+)+|(?:[^\W_]|[{_MARKS}])+")
_SPACELESS = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
# … and Hangul, whose words carry their particles with them.
GLUED = rf"[{_SPACELESS}\uac00-\ud7af]"
_SPACELESS_RUN = re.compile(rf"{GLUED}+")
_LONE_CHARACTER = re.compile(rf"(?<!{GLUED}){GLUED}(?!{GLUED})")
_ASKING = re.compile(
    r"[\u3041-\u309f]+|什么时候|什么|为什么|怎么样?|多少|哪[里儿个些]|谁|几点|吗|呢|什麼|甚麼|為什麼|怎麼|哪裡|誰|何時|何"
)
_SPACELESS_CHARACTER = re.compile(rf"[{_SPACELESS}]")
_MAX_WORD = 40  # longer ones are keys, hashes and noise

# `AT&T` and `R&D`; `H & M` where the parts are letters; `Y`, `C++`; `US` and `U.S.`.
_NAME = re.compile(
    r"""(?<![\w&])(?:
      (?P<joined>\w{1,20}(?:&\w{1,20})+ | [A-Z]\ &\ [A-Z])(?![\w&])
    | (?P<dotted>(?:[A-Z]\.){2,5})
    | (?<!-)(?P<letter>[A-Z])(?:(?P<signs>\+\+|\#)|(?!['\u2019](?!s\b)|-\w|\.\s?\w|\w))
    | (?P<capitals>[A-Z]{2,5})(?!\w)
    )""",
    re.VERBOSE,
)
# Where a sentence begins, these are words of some language or other; `I` and `U` are everywhere.
_LETTER_WORDS = frozenset("AEIKOSUVWYZ")
_ALWAYS_WORDS = frozenset("IU")
_BEGINNING = re.compile(r"(?:^|[.!?…:]\s)[^\w&]*$")


def words(text: str) -> list[str]:
    """The words of a text, casefolded, in order."""
    return _WORD.findall(text.casefold())


def names_asked(question: str) -> dict[str, str]:
    """Names in a question that are no terms, by how they are written there: `AT&T` → `at&t`.

    They are too short, or stop words but for their capitals: a capital letter alone (`Y`, `C++`) that is
    no word there, `US`. Where a sentence begins, a letter that is a word of any language is none.
    """
    stop = STOP_WORDS.get(guess_language(words(question)), STOP_WORDS["en"])
    shouted = not any(map(str.islower, question))
    return {
        match[0]: name
        for match, name in _names(question, _LETTER_WORDS)
        if not (match["dotted"] or match["capitals"]) or (name in stop and not shouted)
    }


def names_in(text: str, language: str) -> set[str]:
    """What `names_asked` may find in a question about the text, and more of the kind."""
    stop = STOP_WORDS.get(language)
    letters = _LETTER_WORDS if stop is None else {word.upper() for word in stop if len(word) == 1}
    return {name for _, name in _names(text, letters)}


def _names(text: str, letter_words: Collection[str]) -> Iterator[tuple[re.Match[str], str]]:
    shouted = not any(map(str.islower, text))
    for match in _NAME.finditer(text):
        letter = match["letter"]
        if letter and not match["signs"]:
            begins = shouted or _BEGINNING.search(text, max(0, match.start() - 12), match.start())
            if letter in _ALWAYS_WORDS or (begins and letter in letter_words):
                continue
        drop = "." if match["dotted"] else " "
        yield match, match[0].casefold().replace(drop, "")


def writes_no_spaces(text: str) -> bool:
    """True where most letters are of a script without spaces between words (CJK, Thai, Khmer)."""
    letters = sum(map(str.isalpha, text))
    return letters > 0 and 2 * len(_SPACELESS_CHARACTER.findall(text)) > letters


def leans_on_context(sentence: str) -> bool:
    """True where the sentence begins with a word that points at the sentence before it."""
    first = _WORD.search(sentence)
    if first is None:
        return False
    return first[0].casefold() in _LEANING or bool(_LEANING_PHRASES.match(sentence, first.start()))


def guess_language(some_words: Sequence[str]) -> str:
    """The language whose stop words are most frequent, or "" where no language is likely."""
    seen = Counter(some_words)
    hits = {
        code: sum(n for word, n in seen.items() if word in stop)
        for code, stop in STOP_WORDS.items()
    }
    best = max(hits, key=lambda code: hits[code])
    return best if hits[best] >= 2 and hits[best] * 8 >= len(some_words) else ""


class Tokeniser:
    """Turns texts into terms; remembers each word's, so it lives as long as one digest."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, tuple[str, ...]]] = {}

    def language(self, declared: str, text: str) -> str:
        """The declared language's code (BCP 47, its first part), else a guess from the text."""
        code = declared.replace("_", "-").partition("-")[0].strip().casefold()
        return code or guess_language(words(text[:800]))

    def terms(self, text: str, language: str = "") -> list[str]:
        """The terms of a text, in order, repeated as often as they occur."""
        known = self._known.setdefault(language, {})
        found: list[str] = []
        for word in words(text):
            terms = known.get(word)
            if terms is None:
                terms = known[word] = _terms_of(word, language)
            found.extend(terms)
        return found


def _terms_of(word: str, language: str) -> tuple[str, ...]:
    if len(word) > _MAX_WORD and not _SPACELESS_CHARACTER.search(word):
        return ()
    if _SPACELESS_RUN.search(word):
        return tuple(pairs_of(word))
    # Where the language is unknown, or wrongly guessed, English words are the likeliest strangers.
    stop = STOP_WORDS.get(language, STOP_WORDS["en"])
    if word in stop or (len(word) < 2):
        return ()
    return (_stem(word, language),)


def without_asking(question: str) -> str:
    """The question without what asks in Chinese and Japanese: particles, endings, question words.

    A character that is left alone is none of a sentence's pairs, and goes too. Where nothing of such a
    script would be left, the question stays as it is.
    """
    rest = _LONE_CHARACTER.sub(" ", _ASKING.sub(" ", question))
    return rest if _SPACELESS_RUN.search(rest) else question


def _stem(word: str, language: str) -> str:
    for suffix in _SUFFIXES.get(language, ()):
        if word.endswith(suffix) and len(word) - len(suffix) >= _MIN_STEM:
            stem = word[: -len(suffix)]
            # `running` and `runs` meet at `run`.
            return stem[:-1] if stem[-1] == stem[-2] and suffix in {"ing", "ed", "er"} else stem
    return word


_PASTS = {
    _stem(past, "en"): _stem(verb, "en")
    for past, verb in zip(_PAST_TEXT.split()[::2], _PAST_TEXT.split()[1::2], strict=True)
}


def without_tense(terms: Iterable[str], language: str) -> list[str]:
    """The terms with English verbs of irregular form as they are in the present."""
    return [_PASTS.get(term, term) for term in terms] if language == "en" else list(terms)


def pairs_of(word: str) -> list[str]:
    """The pairs of characters that stand for the words of a script without spaces."""
    pairs: list[str] = []
    end = 0
    for run in _SPACELESS_RUN.finditer(word):
        if len(rest := word[end : run.start()]) > 1:
            pairs.append(rest)
        characters = run[0]
        pairs += [characters[i : i + 2] for i in range(max(1, len(characters) - 1))]
        end = run.end()
    if len(rest := word[end:]) > 1:
        pairs.append(rest)
    return pairs
