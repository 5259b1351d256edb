import pytest

from pneumoscope.models.settings import profile_settings


def test_a_shorter_run_averages_over_the_same_share_of_its_epochs() -> None:
    whole, quarter = profile_settings("best"), profile_settings("best", epochs=10)

    # What the first epoch still weighs at the end.
    assert quarter.averaging**10 == pytest.approx(whole.averaging**whole.epochs)
    assert profile_settings("best", epochs=whole.epochs) == whole
    assert profile_settings("paper", epochs=6).averaging == 0


def test_one_epoch_is_left_to_the_whole_net() -> None:
    assert profile_settings("transfer", epochs=2).head_epochs == 1
    with pytest.raises(ValueError, match="profile is 'magic', expected one of paper"):
        profile_settings("magic")
