"""Letters that the font of figures lacks: from another font where there is one, else told once."""

import warnings

import pytest
from made_up_curves import MODELS, curve_records

from vision_attn.figures import LearningCurve, fonts, theme


@pytest.fixture
def only_ours(monkeypatch):
    """A machine with no other font than that of matplotlib."""
    caches = (fonts.families, fonts._letters, theme._settings)
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setattr(fonts, "OTHERS", ())
    yield
    for cache in caches:
        cache.cache_clear()


def test_letters_that_no_font_has_are_named_once_for_a_figure(only_ours, tmp_path):
    plot = LearningCurve().plot(curve_records(models=MODELS[:2], sizes=(250, 500)), labels={MODELS[0]: "自注意力 ω"})
    with pytest.warns(UserWarning, match="No font") as told:
        plot.save(tmp_path / "x", formats=("png", "pdf", "svg"))
    (warning,) = told
    assert str(warning.message).startswith("No font of this machine has 自, 注, 意, 力: they are boxes")
    assert "自注意力" in (tmp_path / "x.svg").read_text(encoding="utf-8")


def test_letters_that_there_are_warn_of_nothing(only_ours, tmp_path):
    plot = LearningCurve().plot(curve_records(models=MODELS[:2], sizes=(250, 500)), labels={MODELS[0]: "Модель ω × 2"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot.save(tmp_path / "x", formats=("png",))


def test_of_every_group_the_first_installed_font_follows_ours(monkeypatch):
    fonts.families.cache_clear()
    monkeypatch.setattr(fonts.font_manager, "get_font_names", lambda: ["SimHei", "Malgun Gothic", "WenQuanYi Zen Hei"])
    assert fonts.families() == ("DejaVu Sans", "SimHei", "Malgun Gothic")
    fonts.families.cache_clear()
