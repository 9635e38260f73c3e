"""Languages are told apart on short, mixed, long, capital and code-heavy text; what is no language is "und"."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenet.corpus.filters.language import SAMPLES, UNKNOWN, Identifier, language_only, samples
from tenet.errors import ConfigError

LID = Path(__file__).parents[4] / "shared" / "data" / "lid176" / "lid.176.ftz"
SENTENCES = {
    "en": "The baker went home in the evening and found that the old bridge over the river had been closed.",
    "de": "Der Bäcker ging am Abend nach Hause und fand, dass die alte Brücke über den Fluss gesperrt war.",
    "fr": "Le boulanger est rentré chez lui le soir et a vu que le vieux pont sur la rivière était fermé.",
    "es": "El panadero volvió a casa por la tarde y vio que el viejo puente sobre el río estaba cerrado.",
    "pt": "O padeiro voltou para casa à noite e viu que a velha ponte sobre o rio não estava mais aberta.",
    "it": "Il fornaio tornò a casa la sera e vide che il vecchio ponte sul fiume era stato chiuso.",
    "nl": "De bakker ging 's avonds naar huis en zag dat de oude brug over de rivier gesloten was.",
    "pl": "Piekarz wrócił wieczorem do domu i zobaczył, że stary most na rzece został zamknięty.",
    "cs": "Pekař se večer vrátil domů a zjistil, že starý most přes řeku je už dlouho zavřený.",
    "sv": "Bagaren gick hem på kvällen och såg att den gamla bron över floden hade blivit stängd.",
    "fi": "Leipuri meni illalla kotiin ja huomasi, että joen yli kulkeva vanha silta oli suljettu.",
    "hu": "A pék este hazament, és látta, hogy a folyó fölötti régi hidat már régen lezárták.",
    "tr": "Fırıncı akşam eve gitti ve nehrin üzerindeki eski köprünün kapatıldığını gördü.",
    "ru": "Пекарь вечером пошёл домой и увидел, что старый мост через реку был закрыт.",
    "uk": "Пекар увечері пішов додому і побачив, що старий міст через річку був зачинений.",
    "el": "Ο φούρναρης γύρισε το βράδυ στο σπίτι και είδε ότι η παλιά γέφυρα ήταν κλειστή.",
    "zh": "面包师晚上回家的时候，发现河上的旧桥已经关闭了，没有人知道为什么。",
    "ja": "パン屋は夕方に家へ帰り、川にかかる古い橋が閉まっているのを見ました。",
    "ko": "빵집 주인은 저녁에 집으로 돌아가서 강 위의 오래된 다리가 닫힌 것을 보았습니다.",
    "vi": "Người thợ làm bánh về nhà vào buổi tối và thấy cây cầu cũ qua sông đã bị đóng.",
    "ar": "عاد الخباز إلى البيت في المساء ورأى أن الجسر القديم فوق النهر كان مغلقا.",
    "he": "האופה חזר הביתה בערב וראה שהגשר הישן מעל הנהר היה סגור.",
    "hi": "बेकर शाम को घर गया और देखा कि नदी पर बना पुराना पुल बंद था।",
}
MODELS = [
    pytest.param(
        LID,
        id="lid.176",
        marks=pytest.mark.skipif(
            not LID.exists(), reason="no lid.176.ftz in ../shared/data; py3langid, the default, is tested by the same tests"
        ),
    ),
    pytest.param(None, id="py3langid"),
]


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Identifier:
    return Identifier(request.param)


def test_languages_are_told_apart(model: Identifier) -> None:
    told = {code: model.identify(text) for code, text in SENTENCES.items()}
    assert {code: found for code, (found, _) in told.items() if found != code} == {}
    assert all(0.25 <= probability <= 1 for _, probability in told.values())


def test_lines_capitals_addresses_and_code_do_not_mislead(model: Identifier) -> None:
    german = SENTENCES["de"]
    assert model.identify(german.replace(" ", "\n"))[0] == "de"
    assert model.identify(german.upper())[0] == "de"
    address = "https://www.example.com/the/story/of/the/old/bridge?with=english&words=in-it info@example.com"
    assert model.identify(f"{address} <a href='/the/english/page'>{german}</a> {address}")[0] == "de"
    code = "def read_the_file(path_of_file):\n    return open(path_of_file).read()  # liest die Datei\n"
    assert model.identify(f"{code}{german}\n{code}")[0] == "de"


@pytest.mark.parametrize("text", ["", " \n", "12 345,67 | 89 | 10", "https://example.com/a/b", "??? !!! ...", "ok"])
def test_what_is_no_language_is_unknown(model: Identifier, text: str) -> None:
    assert model.identify(text) == (UNKNOWN, 0.0)


def test_a_long_document_is_judged_by_all_of_it(model: Identifier) -> None:
    book = f"{SENTENCES['en']} " * 6 + f"{SENTENCES['de']} " * 400
    assert model.identify(book)[0] == "de"
    shares = model.shares("\n\n".join([SENTENCES["en"]] * 30 + [SENTENCES["ru"]] * 10))
    assert list(shares)[:2] == ["en", "ru"] and shares["en"] == pytest.approx(0.78, abs=0.06)
    assert sum(shares.values()) == pytest.approx(1) and model.shares("") == {}


def test_samples_cover_the_text() -> None:
    text = "".join(chr(0x4E00 + i) for i in range(20_000))
    found = samples(text)
    assert len(found) == SAMPLES and found[0][0] == text[0] and text.endswith(found[-1]) and samples("short") == ["short"]


def test_only_language_is_left() -> None:
    assert language_only("See <b>the</b> file_name at\nhttps://a.example or x[1] = 2 now") == "See the at or now"
    assert language_only("价格是100元，见文件a").startswith("价格是")
    assert language_only("THE OLD BRIDGE IS CLOSED") == "the old bridge is closed"


def test_a_missing_or_foreign_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        Identifier(tmp_path / "lid.ftz")
    (tmp_path / "lid.ftz").write_bytes(b"no model at all, but long enough to be one")
    with pytest.raises(ConfigError, match="not a fastText model"):
        Identifier(tmp_path / "lid.ftz")


def test_without_a_model_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "py3langid.langid", None)
    with pytest.raises(ConfigError, match="pip install py3langid"):
        Identifier()
