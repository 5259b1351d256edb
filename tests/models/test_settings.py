import pytest

from pneumoscope.models.settings import configuration_settings


def test_a_shorter_run_averages_over_the_same_share_of_its_epochs() -> None:
    whole, quarter = configuration_settings("improved"), configuration_settings("improved", epochs=10)

    # What the first epoch still weighs at the end.
    assert quarter.averaging**10 == pytest.approx(whole.averaging**whole.epochs)
    assert configuration_settings("improved", epochs=whole.epochs) == whole
    assert configuration_settings("reference", epochs=6).averaging == 0


def test_one_epoch_is_left_to_the_whole_net() -> None:
    assert configuration_settings("transfer", epochs=2).head_epochs == 1
    with pytest.raises(ValueError, match="configuration is 'magic', expected one of paper"):
        configuration_settings("magic")
