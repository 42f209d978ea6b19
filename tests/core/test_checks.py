"""A number that is no number is told as such, by the same words for every option."""

import pytest

from open_instruct_flip.client.config import ClientConfig
from open_instruct_flip.errors import UsageError
from open_instruct_flip.failures.config import FailureConfig
from open_instruct_flip.judges.config import ReplyConfig
from open_instruct_flip.local.config import LocalConfig
from open_instruct_flip.score.config import ScoreConfig

INFINITE, NO_NUMBER = float("inf"), float("nan")


@pytest.mark.parametrize("value", [INFINITE, NO_NUMBER, -1.0])
@pytest.mark.parametrize(
    ("config_class", "name", "wanted"),
    [
        (ScoreConfig, "outage_timeout_s", "a finite number, 0 or above"),
        (FailureConfig, "outage_timeout_s", "a finite number, 0 or above"),
        (ReplyConfig, "temperature", "a finite number, 0 or above"),
        (ClientConfig, "retry_wait_s", "a finite number, 0 or above"),
        (ClientConfig, "timeout_s", "a finite number above 0"),
        (LocalConfig, "learning_rate", "a finite number above 0"),
    ],
)
def test_an_option_that_is_no_finite_number_says_what_it_takes(config_class, name, wanted, value):
    with pytest.raises(UsageError, match=rf"^--{name} must be {wanted}, got {value}$"):
        config_class(**{name: value})
